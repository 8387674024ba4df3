"""What ranks say to each other, in two processes with gloo."""

import json

import pytest
from forked import forked

pytestmark = pytest.mark.slow


def said(tmp_path, function, code=0):
    done = forked(2, f"rank_talk:{function}", tmp_path)
    assert done.returncode == code, done.stderr
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)], done.stderr


def test_sums_values_and_bytes(tmp_path):
    (first, second), _ = said(tmp_path, "talk")
    assert first["sizes"] == second["sizes"] == [
        [None, None], ["", "ä" * 1000], [{"rank": 0, "π": [0.1]}, {"rank": 1, "π": [0.1]}]
    ]  # fmt: skip
    assert first["sent"] == second["sent"] == [True] * 3
    assert first["sum"] == second["sum"] == [3.0, 1.0]
    assert (first["work"], second["work"]) == (10, 11)


def test_when_one_gives_up_all_do_and_say_the_same(tmp_path):
    (first, second), _ = said(tmp_path, "refuse")
    assert first["told"] == second["told"] == [
        "some/where: no use for rank 1 — give it up", "some/where: no use for rank 0 — give it up", None
    ]  # fmt: skip


def test_of_several_machines_the_one_is_named(tmp_path):
    (first, _), stderr = said(tmp_path, "refuse_on_machines", code=2)
    assert first["machines"] == [0, 1]
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert lines == ["error: machine 1, data: cannot write here — make room"] * 2


def test_another_number_than_wanted_is_refused(tmp_path):
    done = forked(2, "rank_talk:too_few", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("error: train.processes: 3 processes wanted, 2 running") == 2


def test_the_shared_store_counts_for_a_preemption_and_forgets(tmp_path):
    (first, second), _ = said(tmp_path, "count")
    assert first["cut"] and second["cut"]
    assert first["more"] <= 1, "a hundred updates left no more than the one that was under way"
