"""Paired comparisons against formulas worked out here, and against every possibility where there are few."""

import itertools
import math
import random

import numpy as np
import pytest
from evaluation_rows import make_row

from llarp.errors import UserError
from llarp.evaluate.compare import compare, holm, mcnemar, rates, totals
from llarp.tasks.splits import SPLITS

NINE = [split for split, facts in SPLITS.items() if facts.in_total]


def rows_of(outcomes, split="new_scenes", source="generated"):
    return [
        make_row(split=split, source=source, episode_id=f"{split}-{number}", success=bool(success))
        for number, success in enumerate(outcomes)
    ]


def pairs(both, won, lost, neither):
    """(candidate's, champion's) outcomes."""
    return [1] * (both + won) + [0] * (lost + neither), [1] * both + [0] * won + [1] * lost + [0] * neither


def tail(n, k):
    """Probability of k heads or more in n throws of a coin."""
    return math.fsum(math.comb(n, i) for i in range(k, n + 1)) / 2**n


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (0, 1), (3, 3), (5, 15), (15, 5), (0, 9), (40, 60)])
def test_mcnemar_is_the_tail_of_a_coin(won, lost):
    n = won + lost
    two, worse = mcnemar(won, lost)
    assert worse == pytest.approx(tail(n, lost))
    assert two == pytest.approx(min(1.0, 2 * tail(n, max(won, lost))) if n else 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_mcnemar_is_the_share_of_all_ways_in_which_pairs_could_have_been_swapped(seed):
    rng = random.Random(seed)
    ours, theirs = ([rng.random() < p for _ in range(10)] for p in (0.4, 0.7))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    worse = 0
    for swaps in itertools.product((False, True), repeat=10):
        swapped = sum((a and not b) if swap else (b and not a) for a, b, swap in zip(ours, theirs, swaps, strict=True))
        worse += swapped >= lost
    assert mcnemar(won, lost)[1] == pytest.approx(worse / 2**10)


def test_rates_difference_and_counts_are_those_of_the_pairs_whatever_their_order():
    ours, theirs = pairs(both=50, won=5, lost=15, neither=30)
    candidate, champion = rows_of(ours), rows_of(theirs)
    split, total = compare(candidate, champion[::-1])
    assert (split.group, split.episodes, split.won, split.lost) == ("new_scenes", 100, 5, 15)
    assert (split.candidate, split.champion) == (0.55, 0.65)
    assert split.difference == pytest.approx(-0.10)
    assert total.group == "total" and total.is_total and total.difference == pytest.approx(-0.10)
    assert compare(candidate, champion) == [split, total]  # the same interval, too


def test_the_interval_is_that_of_resampled_pairs():
    ours, theirs = pairs(both=50, won=5, lost=15, neither=30)
    (split, _) = compare(rows_of(ours), rows_of(theirs), resamples=50_000)
    differences = np.array(ours) - np.array(theirs)
    rng = np.random.default_rng(7)
    means = differences[rng.integers(0, 100, (50_000, 100))].mean(1)
    assert (split.low, split.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.0101)
    error = math.sqrt(0.2 - 0.1**2) / 10  # of a mean of 100 such differences
    assert split.high - split.low == pytest.approx(2 * 1.96 * error, abs=0.02)


def test_the_interval_of_four_pairs_is_exact():
    ours, theirs = pairs(both=1, won=0, lost=1, neither=2)  # each resample: lost ~ binomial(4, 1/4)
    (split, _) = compare(rows_of(ours), rows_of(theirs), confidence=0.9, resamples=100_000)
    weights = [math.comb(4, k) * 0.25**k * 0.75 ** (4 - k) for k in range(5)]
    wanted = next(k for k in range(5) if math.fsum(weights[: k + 1]) >= 0.95)
    assert (split.low, split.high) == (-wanted / 4, 0.0)


def test_equal_policies_differ_by_nothing():
    rows = rows_of([1, 0, 1, 1])
    for one in compare(rows, rows):
        assert (one.difference, one.low, one.high, one.p, one.p_worse) == (0, 0, 0, 1, 1)


def test_the_total_weighs_the_papers_nine_splits_alike_and_resamples_each_by_itself():
    candidate, champion = rows_of([1] * 40, "new_scenes"), rows_of([0] * 40, "new_scenes")  # counts in no total
    for number, split in enumerate(NINE):
        size = 10 * (number + 1)
        won = size // 2
        candidate += rows_of([1] * won + [0] * (size - won), split)
        champion += rows_of([0] * size, split)
    total = compare(candidate, champion, resamples=40_000)[-1]
    assert (total.group, total.candidate, total.champion) == ("total", pytest.approx(0.5), 0.0)
    assert total.episodes == sum(10 * (number + 1) for number in range(9))
    error = math.sqrt(sum(0.25 / (10 * (number + 1)) for number in range(9))) / 9
    assert total.high - total.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_totals_are_of_what_there_is():
    assert totals(["train_validation", *NINE]) == {"total": NINE}
    assert totals(["easy", "hard"]) == {"total": ["easy", "hard"]}  # another environment
    released = ["released/context", "released/new_scenes"]
    assert totals(["context", *released]) == {"total": ["context"], "released/total": ["released/context"]}


def test_generated_and_released_episodes_of_one_name_are_not_mixed():
    rows = rows_of([1, 1], "context") + rows_of([0, 0], "context", "released")
    assert rates(rows) == {"context": 1, "released/context": 0, "total": 1, "released/total": 0}


def test_other_episodes_are_named():
    with pytest.raises(UserError, match=r"episode new_scenes-2 of new_scenes was evaluated for one"):
        compare(rows_of([1, 0, 1]), rows_of([1, 0]))
    with pytest.raises(UserError):
        compare(rows_of([1, 0]), rows_of([1, 0], source="released"))


def test_holm_is_the_smallest_alpha_at_which_each_is_rejected():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ps = list(rng.random(6) ** 2)
        adjusted = holm(ps)
        for alpha in rng.random(20):
            rejected = set()  # step down: the smallest against alpha / 6, the next against alpha / 5, ...
            for rank, index in enumerate(sorted(range(6), key=ps.__getitem__)):
                if ps[index] > alpha / (6 - rank):
                    break
                rejected.add(index)
            assert rejected == {index for index in range(6) if adjusted[index] <= alpha}
    assert holm([]) == []
