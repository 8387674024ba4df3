import json

from components.curves import Curves, read


def record(points):
    return lambda step, metrics: points.append((step, metrics))


def test_points_are_passed_on_and_finished_as_curves(tmp_path):
    passed = []
    curves = Curves(tmp_path / "state" / "curves.jsonl", record(passed))
    curves(1, {"loss": 3.0, "lr": 0.1})
    curves(2, {"loss": 2.0})
    assert passed == [(1, {"loss": 3.0, "lr": 0.1}), (2, {"loss": 2.0})]

    curves.finish(tmp_path / "curves.json")
    assert read(tmp_path / "curves.json") == {"loss": [(1, 3.0), (2, 2.0)], "lr": [(1, 0.1)]}
    assert not curves.path.exists()


def test_a_resumed_training_replaces_what_it_does_again(tmp_path):
    first = Curves(tmp_path / "curves.jsonl", record([]))
    for step in range(1, 6):
        first(step, {"loss": float(step)})

    passed = []
    second = Curves(tmp_path / "curves.jsonl", record(passed))
    second(4, {"loss": 40.0})  # it went on from a checkpoint after step 3
    second(5, {"loss": 50.0})
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0)]
    assert [(step, metrics["loss"]) for step, metrics in passed] == expected
    assert [(step, metrics["loss"]) for step, metrics in second.points()] == expected


def test_a_training_begun_anew_forgets_the_old_curve(tmp_path):
    Curves(tmp_path / "curves.jsonl", record([]))(900, {"loss": 9.0})
    anew = Curves(tmp_path / "curves.jsonl", record([]))
    anew(5, {"loss": 5.0})
    assert anew.points() == [(5, {"loss": 5.0})]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "curves.jsonl"
    path.write_text(json.dumps([1, {"loss": 1.0}]) + "\n" + '[2, {"lo')
    assert Curves(path, record([])).points() == [(1, {"loss": 1.0})]
