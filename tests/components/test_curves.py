import json

from components.curves import Curves, read


def record(points):
    return lambda step, metrics: points.append((step, metrics))


def test_points_are_passed_on_and_finished_as_curves(tmp_path):
    passed = []
    curves = Curves(tmp_path / "state" / "curves.jsonl", record(passed))
    clone = curves.phase("bc")
    clone(1, {"loss": 3.0, "lr": 0.1})
    clone(2, {"loss": 2.0})
    assert passed == [(1, {"loss": 3.0, "lr": 0.1}), (2, {"loss": 2.0})]

    curves.finish(tmp_path / "curves.json")
    assert read(tmp_path / "curves.json") == {"loss": [(1, 3.0), (2, 2.0)], "lr": [(1, 0.1)]}
    assert not curves.path.exists()


def test_a_resumed_training_replaces_what_it_does_again(tmp_path):
    first = Curves(tmp_path / "curves.jsonl", record([])).phase("bc")
    for step in range(1, 6):
        first(step, {"loss": float(step)})

    passed = []
    second = Curves(tmp_path / "curves.jsonl", record(passed))
    second.phase("bc")(4, {"loss": 40.0})  # it went on from a checkpoint after step 3
    second.phase("bc")(5, {"loss": 50.0})
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0)]
    assert [(step, metrics["loss"]) for step, metrics in passed] == expected
    assert [(step, metrics["loss"]) for step, metrics in second.points("bc")] == expected


def test_a_training_begun_anew_forgets_the_old_curve(tmp_path):
    old = Curves(tmp_path / "curves.jsonl", record([]))
    old.phase("bc")(900, {"loss": 9.0})
    old.phase("ppo")(4, {"reward": 9.0})
    passed = []
    anew = Curves(tmp_path / "curves.jsonl", record(passed))
    anew.phase("bc")(5, {"loss": 5.0})
    assert passed == anew.points("bc") == [(5, {"loss": 5.0})]
    assert anew.points("ppo") == []


def test_each_phase_counts_its_own_steps(tmp_path):
    curves = Curves(tmp_path / "curves.jsonl", record([]))
    for step in (500, 1000):
        curves.phase("bc")(step, {"loss": float(step)})
    for step in (256, 512, 768):
        curves.phase("ppo")(step, {"reward": float(step)})

    passed = []
    resumed = Curves(tmp_path / "curves.jsonl", record(passed))
    resumed.phase("ppo")(512, {"reward": -1.0})  # the first phase was done
    assert passed == [
        (500, {"loss": 500.0}),
        (1000, {"loss": 1000.0}),
        (256, {"reward": 256.0}),
        (512, {"reward": -1.0}),
    ]
    assert resumed.points("ppo") == [(256, {"reward": 256.0}), (512, {"reward": -1.0})]

    resumed.finish(tmp_path / "curves.json")
    assert read(tmp_path / "curves.json") == {
        "loss": [(500, 500.0), (1000, 1000.0)],
        "reward": [(256, 256.0), (512, -1.0)],
    }


def test_a_training_resumed_between_two_phases_passes_on_the_first(tmp_path):
    Curves(tmp_path / "curves.jsonl", record([])).phase("bc")(500, {"loss": 1.0})
    passed = []
    Curves(tmp_path / "curves.jsonl", record(passed)).phase("ppo")(256, {"reward": 2.0})
    assert passed == [(500, {"loss": 1.0}), (256, {"reward": 2.0})]


def test_a_line_cut_off_by_a_kill_is_left_out_and_spoils_no_other(tmp_path):
    path = tmp_path / "curves.jsonl"
    path.write_text(json.dumps(["bc", 1, {"loss": 1.0}]) + "\n" + '["bc", 2, {"lo')
    curves = Curves(path, record([]))
    assert curves.points("bc") == [(1, {"loss": 1.0})]
    curves.phase("bc")(2, {"loss": 2.0})
    assert curves.points("bc") == [(1, {"loss": 1.0}), (2, {"loss": 2.0})]
