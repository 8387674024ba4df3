"""When a rollout is cut for the others' sake."""

from collections import Counter

import pytest

from llarp.learn.preemption import Preemption, shared_counter

TOTAL = 8


class Store:
    """Counts as torch's stores do."""

    def __init__(self):
        self.counts = Counter()

    def add(self, key, amount):
        self.counts[key] += amount
        return self.counts[key]

    def delete_key(self, key):
        return self.counts.pop(key, None) is not None


def team(ranks, share, least=0.25):
    store = Store()
    return store, [Preemption(store, ranks, share, least) for _ in range(ranks)]


@pytest.mark.parametrize(
    ("ranks", "share", "wanted"), [(3, 0.6, 2), (2, 0.5, 1), (2, 0.51, 2), (10, 0.6, 6), (100, 0.07, 7), (25, 0.28, 7)]
)
def test_so_many_must_have_finished(ranks, share, wanted):
    _, members = team(ranks, share)
    for number in range(wanted):
        assert not members[-1].should_stop(5, TOTAL - 1, TOTAL)
        members[number].finished(5)
    assert members[-1].should_stop(5, TOTAL - 1, TOTAL)


def test_no_rollout_is_cut_below_the_least_nor_once_it_is_whole():
    _, (one, two, slow) = team(3, 0.6, least=0.3)
    one.finished(0), two.finished(0)
    assert [slow.should_stop(0, steps, TOTAL) for steps in range(1, TOTAL + 1)] == [False, False, *[True] * 5, False]


def test_updates_are_counted_apart_and_forgotten():
    store, (one, two, slow) = team(3, 0.6)
    for update in (1_000_000, 1_000_001):
        assert not slow.should_stop(update, 4, TOTAL)
        for member in (one, two, slow):
            member.finished(update)
        assert slow.should_stop(update, 4, TOTAL)
        one.forget(update)
        assert store.counts == {}


@pytest.mark.parametrize(("ranks", "share"), [(3, 1.0), (1, 0.5)])
def test_alone_or_with_a_share_of_all_nothing_is_cut_nor_counted(ranks, share):
    store, members = team(ranks, share)
    for member in members:
        member.finished(0)
        assert not member.should_stop(0, TOTAL - 1, TOTAL)
        member.forget(0)
    assert store.counts == {}


def test_a_single_rank_has_no_store():
    assert shared_counter(1) is None
