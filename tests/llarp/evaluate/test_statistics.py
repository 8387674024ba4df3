"""Intervals against numbers computed by hand, and what a summary groups."""

import math

import pytest
from evaluation_rows import make_row

from llarp.errors import UserError
from llarp.evaluate.statistics import TOTAL, Summary, summarise, total, wilson
from llarp.tasks.splits import SPLITS

IN_TOTAL = [split for split, facts in SPLITS.items() if facts.in_total]


def test_wilson_equals_the_formula_worked_out_by_hand():
    # z = 1.959964, p = 0.8, n = 10: centre (0.8 + z^2/20) / (1 + z^2/10) = 0.716742,
    # half width z / (1 + z^2/10) * sqrt(0.016 + z^2/400) = 0.226577
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=2e-6)


def test_wilson_keeps_a_width_at_the_ends():
    # z^2 / (n + z^2) = 3.841459 / 103.841459
    assert wilson(0, 100) == pytest.approx((0.0, 0.036994), abs=1e-6)
    assert wilson(100, 100) == pytest.approx((0.963006, 1.0), abs=1e-6)


def test_wilson_knows_nothing_from_no_trial():
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_wider_confidence_gives_a_wider_interval():
    low, high = wilson(30, 100, confidence=0.99)
    assert low < wilson(30, 100)[0] and high > wilson(30, 100)[1]


def rows_of(policy, rates, episodes=10, source="generated"):
    return [
        make_row(policy=policy, source=source, split=split, episode_id=f"{split}-{number}", success=number < rate)
        for split, rate in rates.items()
        for number in range(episodes)
    ]


def test_the_total_is_the_mean_over_the_nine_splits_with_the_interval_of_the_module():
    assert len(IN_TOTAL) == 9
    rates = {split: number % 3 for number, split in enumerate(IN_TOTAL)}  # 0, 1 or 2 of 10, three times each
    found = summarise(rows_of("policy", rates)).find("policy", "generated", TOTAL)
    assert found.success == pytest.approx(0.1)
    limits = [wilson(successes, 10) for successes in (0, 1, 2)]
    below = math.sqrt(3 * sum((p - low) ** 2 for p, (low, _) in zip((0, 0.1, 0.2), limits, strict=True))) / 9
    above = math.sqrt(3 * sum((high - p) ** 2 for p, (_, high) in zip((0, 0.1, 0.2), limits, strict=True))) / 9
    assert (found.low, found.high) == pytest.approx((0.1 - below, 0.1 + above))
    assert found.episodes == 90


def test_the_total_weighs_splits_alike_however_many_episodes_they_have():
    rows = rows_of("policy", dict.fromkeys(IN_TOTAL, 0)) + rows_of("policy", {IN_TOTAL[0]: 90}, episodes=90)
    assert summarise(rows).find("policy", "generated", TOTAL).success == pytest.approx(0.9 / 9)


def test_the_total_of_one_split_is_that_split():
    (score,) = summarise(rows_of("policy", {"new_scenes": 4})).splits
    alone = total([score])
    assert (alone.success, alone.low, alone.high) == pytest.approx((score.success, score.low, score.high))


def test_there_is_no_total_over_fewer_than_nine_splits():
    assert summarise(rows_of("policy", dict.fromkeys(IN_TOTAL[1:], 5))).totals == ()


def test_splits_outside_the_total_leave_it_alone():
    rates = dict.fromkeys(IN_TOTAL, 5)
    with_others = summarise(rows_of("policy", rates | {"new_scenes": 10, "train_validation": 10}))
    assert with_others.totals == summarise(rows_of("policy", rates)).totals


def test_means_and_groups():
    rows = [
        make_row(success=True, progress=1.0, invalid_actions=0, steps=4, family="find"),
        make_row(success=False, progress=0.5, invalid_actions=3, steps=32, family="swap"),
        make_row(policy="random", source="released", success=False, progress=0.0, family="swap"),
    ]
    summary = summarise(rows)
    score = summary.find("policy", "generated", "new_scenes")
    assert (score.episodes, score.success, score.progress, score.invalid_actions, score.steps) == (
        2,
        0.5,
        0.75,
        1.5,
        18,
    )
    assert summary.find("policy", "released", "new_scenes") is None
    assert summary.policies == ("policy", "random")
    assert summary.sources == ("generated", "released")
    assert {(s.policy, s.group, s.success) for s in summary.families} == {
        ("policy", "find", 1.0), ("policy", "swap", 0.0), ("random", "swap", 0.0),
    }  # fmt: skip


def test_metrics_are_flat_and_of_one_policy():
    summary = summarise([make_row(success=True), make_row(source="released", success=False), make_row(policy="random")])
    metrics = summary.metrics("policy")
    assert metrics["eval/new_scenes/success"] == 1.0
    assert metrics["eval/released/new_scenes/success"] == 0.0
    assert len(metrics) == 8


def test_a_summary_survives_its_file(tmp_path):
    summary = summarise(rows_of("policy", dict.fromkeys(IN_TOTAL, 5)))
    summary.write(tmp_path / "summary.json")
    assert Summary.read(tmp_path / "summary.json") == summary


@pytest.mark.parametrize("text", ["", "[]", '{"splits": [1]}', '{"other": []}'])
def test_a_foreign_summary_is_refused(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(UserError, match=r"summary\.json: is no summary"):
        Summary.read(tmp_path / "summary.json")


def test_kinds_of_facts_and_of_clauses_are_told_apart():
    rows = [
        make_row(split=split, template=template, success=success)
        for split, template, success in (
            ("knowledge", "knowledge.origin.banana.2+find.0", True),
            ("knowledge", "knowledge.origin.pear.0+find.0", False),
            ("knowledge", "knowledge.use.pear.0+find.0", True),
            ("irrelevant_text", "irrelevant_text.claims.3.true+train.move_to.0", True),
            ("irrelevant_text", "irrelevant_text.denials.0.false+train.move_to.1", False),
            ("irrelevant_text", "irrelevant_text.remarks.0+train.move_to.1", False),
            ("train_validation", "train.move_to.0", True),
        )
    ]
    found = summarise(rows)
    assert {score.group: (score.episodes, score.success) for score in found.tags} == {
        "irrelevant_text/false": (1, 0.0),
        "irrelevant_text/neutral": (1, 0.0),
        "irrelevant_text/true": (1, 1.0),
        "knowledge/origin": (2, 0.5),
        "knowledge/use": (1, 1.0),
    }
    assert found.metrics("policy")["eval/knowledge/origin/success"] == 0.5
