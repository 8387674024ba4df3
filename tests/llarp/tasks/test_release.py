import io
import math
import os
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import released_files as files

from llarp.errors import UserError
from llarp.scenes.layouts import layout
from llarp.scenes.variants import training_variants
from llarp.tasks import goals
from llarp.tasks.released.release import read
from llarp.tasks.released.unpickle import load


class Runs:
    """Unpickles into a call."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", [3, 4])
def test_an_episode_is_ours_after_import(tmp_path, protocol):
    files.write(tmp_path, protocol=protocol)
    (episode,) = read([tmp_path])
    assert (episode.split, episode.family, episode.template) == ("train_validation", "move_from_to", "release:abc123")
    assert episode.layout == "v3_sc0_staging_00"
    assert episode.goal == goals.parse("EXISTS X:apple AND(on_top(X, sink), not_holding())")
    assert [str(atom) for atom in episode.start] == ["opened_fridge(fridge_handle)"]
    assert [(entry.name, entry.receptacle, entry.category) for entry in episode.objects] == [
        ("013_apple:0", "sofa", "apple"), ("016_pear:0", "sink", "pear"), ("013_apple:1", "sofa", "apple"),
    ]  # fmt: skip
    assert [str(atom) for atom in episode.recorded[1]] == [
        "holding(013_apple:1)", "robot_at(sofa)", "robot_at_obj(013_apple:1)",
    ]  # fmt: skip
    assert (episode.plan, episode.demonstration, episode.subgoals) == ((), (), ())


def test_the_y_up_frame_becomes_z_up(tmp_path):
    files.write(tmp_path)
    turned = read([tmp_path])[0].objects[2]
    assert turned.position == pytest.approx((-1.8, -1.5, layout("v3_sc0_staging_00").surfaces["sofa"].center[2]))
    w, x, y, z = turned.quaternion
    # A turn about y by 0.5 keeps its sense: y up, x right, z towards the viewer is z up, x right, y away.
    assert (x, y) == (0.0, 0.0) and 2 * math.atan2(z, w) == pytest.approx(0.5, abs=1e-5)
    assert turned.variant in training_variants()


@pytest.mark.parametrize(
    "name, split",
    [("multiple_objects", "multiple_rearrangements"), ("multiple_rearrangements", "multiple_objects")],
)
def test_the_two_swapped_files_are_swapped_back(tmp_path, name, split):
    (episode,) = read([files.write(tmp_path, name=name)])
    assert episode.split == episode.family == split


def test_names_may_go_on(tmp_path):
    for name in ("train_validation", "train_validation_2"):
        files.write(tmp_path, name=name)
    first, second = read([tmp_path])
    assert first.split == second.split == "train_validation"
    assert first.episode_id != second.episode_id
    with pytest.raises(UserError, match="not the name of a released split"):
        read([files.write(tmp_path, name="contextual")])


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    for call in (
        Runs(os.system, f"touch {trace}"),
        Runs(open, str(trace), "w"),
        Runs(eval, f"open({str(trace)!r}, 'w')"),
    ):
        data = files.content()
        data["all_eps"][0]["info"] = call
        path = files.write(tmp_path, data)
        with pytest.raises(UserError, match=r"train_validation.pickle: asks for \S+\.\S+, which could run code"):
            read([path])
        assert not trace.exists()
    pickle.loads(pickle.dumps(Runs(open, str(trace), "w"))).close()
    assert trace.exists(), "the test's own pickle does nothing"


def test_numpys_own_doors_to_raw_memory_stay_shut(tmp_path):
    """These crash the interpreter when the real constructors are admitted, so they run in a process of their own."""
    attacks = [
        Runs(np.ndarray, (1,), "O", b"12345678"),
        Runs(np.dtype, "O"),
        Runs(np.dtype, "V8"),
        np.array([None], dtype=object),
    ]
    for attack in attacks:
        path = tmp_path / "new_scenes.pickle"
        path.write_bytes(pickle.dumps({"all_eps": attack}))
        code = (
            "import sys, pathlib; from llarp.errors import UserError; from llarp.tasks.released.unpickle import load\n"
            "try: load(pathlib.Path(sys.argv[1]))\n"
            "except UserError: sys.exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60)
        assert done.returncode == 7, done.stderr.decode()


def test_plain_content_is_read_as_it_is(tmp_path):
    data = {
        "a": [1, 2.5, None, True, "text", b"bytes", (1, {2}), frozenset({3})],
        "n": np.float32(0.5),
        "m": np.int64(-3),
    }
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in ("f4", "f8", "i8", "u1", "?")}
    arrays["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps((data, arrays), 4))
    same, again = load(path)
    assert same == data and type(same["n"]) is np.float32
    for kind, array in arrays.items():
        assert again[kind].dtype == array.dtype and np.array_equal(again[kind], array)


def test_a_damaged_file_is_refused_wherever_it_ends(tmp_path):
    whole = files.write(tmp_path).read_bytes()
    path = tmp_path / "new_scenes.pickle"
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="new_scenes.pickle: is no whole pickle"):
            read([path])
    for text in (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", b"PAR1"):
        path.write_bytes(text)
        with pytest.raises(UserError, match="is no whole pickle"):
            read([path])


def test_a_pickle_that_claims_to_be_huge_is_refused(tmp_path):
    path = tmp_path / "new_scenes.pickle"
    path.write_bytes(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.")  # bytes of 4 EiB
    with pytest.raises(UserError, match="is no whole pickle"):
        read([path])
    buffer = io.BytesIO()
    pickle.dump(np.zeros(3), buffer, 4)
    path.write_bytes(buffer.getvalue().replace(b"K\x03\x85", b"\x8a\x08" + (2**60).to_bytes(8, "little") + b"\x85"))
    with pytest.raises(UserError, match="is no whole pickle"):
        read([path])


def altered(change):
    data = files.content()
    change(data, data["all_eps"][0])
    return data


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda d, e: d.pop("idx_to_name"), "KeyError 'idx_to_name'"),
        (lambda d, e: d.update(all_transforms=np.zeros((3, 3))), "all_transforms has shape"),
        (lambda d, e: d.update(all_transforms=[1]), "AttributeError"),
        (lambda d, e: d.update(all_eps=5), "TypeError"),
        (lambda d, e: d["all_eps"].append("text"), "episode 1: is not as released: TypeError"),
        (lambda d, e: e.pop("goal_preds"), "episode 0: is not as released: KeyError 'goal_preds'"),
        (lambda d, e: e.update(instruction=""), "no instruction"),
        (lambda d, e: e.update(scene_id="v3_sc7_staging_00.scene_instance.json"), "unknown scene 'v3_sc7_staging_00'"),
        (lambda d, e: d["idx_to_name"].update({5: "receptacle_aabb_b"}), "or handle 'receptacle_aabb_b'"),
        (lambda d, e: d["idx_to_name"].update({0: "099_x.object_config.json", 4: "099_x_:0000"}), "object '099_x'"),
        (lambda d, e: d["idx_to_name"].update({3: "013_apple_:0005"}), "list different objects"),
        (lambda d, e: e["goal_preds"]["inputs"][0].update(expr_type="elephant"), "unknown category 'elephant'"),
        (lambda d, e: e["goal_preds"].update(quantifier="MOST"), "unknown expression MOST AND"),
        (lambda d, e: e["goal_preds"].update(sub_exprs=["under(X)"]), "no predicate under with 1 arguments"),
        (lambda d, e: e["subgoals"].append(["robot_at(moon)"]), "unknown receptacle or handle 'moon'"),
        (lambda d, e: d["all_transforms"].__setitem__((0, 0, 3), np.nan), "013_apple_:0000 is nowhere"),
        (lambda d, e: e["rigid_objs"].__setitem__((0, 1), 99), "episode 0: is not as released: IndexError"),
    ],
)  # fmt: skip
def test_what_is_not_as_released_is_named(tmp_path, change, says):
    path = files.write(tmp_path, altered(change))
    with pytest.raises(UserError) as caught:
        read([path])
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_paths_that_hold_no_release(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.pickle file"):
        read([tmp_path])
    with pytest.raises(UserError, match=r"train\.pickle: no such file or folder"):
        read([tmp_path / "train.pickle"])
    with pytest.raises(UserError, match="not the name of a released split.*new_scenes"):
        read([files.write(tmp_path, name="secret")])


@pytest.fixture(scope="module")
def episodes():
    return read([files.released_folder()])


@files.needs_release
class TestTheRealRelease:
    def test_six_hundred_episodes_of_six_splits(self, episodes):
        assert Counter(episode.split for episode in episodes) == dict.fromkeys(
            ("conditional", "multiple_objects", "new_scenes", "novel_objects", "rephrasing", "train_validation"), 100
        )
        assert len({episode.episode_id for episode in episodes}) == 600

    def test_families_agree_with_the_releases_own_templates(self, episodes):
        families = {}
        for episode in episodes:
            families.setdefault(episode.template, set()).add(episode.family)
        assert all(len(found) == 1 for found in families.values()), families

    def test_every_object_lies_on_its_receptacle(self, episodes):
        for episode in episodes:
            for entry in episode.objects:
                surface = layout(episode.layout).surfaces[entry.receptacle]
                u, v = surface.to_local(*entry.position[:2])
                assert abs(u) <= surface.half[0] + 0.1 and abs(v) <= surface.half[1] + 0.1, (episode.layout, entry)
