import pickle
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from released_files import needs_release, released_folder

from llarp.errors import UserError
from llarp.tasks.data import columns, store
from llarp.tasks.data.columns import VERSION_KEY, content
from llarp.tasks.episode import Episode, ObjectInstance, resting
from llarp.tasks.goals import Predicate, parse
from llarp.tasks.released.release import read, release_files
from llarp.tasks.skills import Skill

APPLE = ObjectInstance("013_apple:0", "apple", "013_apple", 3, "sofa", *resting(0.1, -2.3004, 0.41, 1.2346))


def episode(number=0, **changes):
    full = Episode(
        episode_id=f"e{number}", split="train", family="move_to", template="move_to/3", instruction="Ein Äpfelchen!",
        layout="gen_train_0001", objects=(APPLE, replace(APPLE, name="013_apple:1", variant=number % 5)),
        start=(Predicate("opened_fridge", ("fridge_handle",)),),
        goal=parse("AND(not_holding(), EXISTS X:apple, Y:pear NAND(on_top(X, sofa), on_top(Y, sink)))"),
        subgoals=(parse("EXISTS X:apple AND(holding(X))"), parse("AND(not_holding())")),
        plan=(Skill("nav", "sofa"), Skill("open_fridge")), demonstration=(Skill("pick", "apple"),),
        recorded=((Predicate("robot_at", ("sofa",)), Predicate("not_holding")), ()),
    )  # fmt: skip
    return replace(full, **changes)


BARE = episode(7, objects=(), start=(), subgoals=(), plan=(), demonstration=(), recorded=())


def test_what_is_written_is_read_again(tmp_path):
    episodes = [episode(0), BARE, episode(1), episode(2, objects=(APPLE,))]
    assert store.write(tmp_path / "e.parquet", iter(episodes)) == 4
    assert store.read(tmp_path / "e.parquet") == episodes


def test_many_groups_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 7)
    episodes = [episode(number) for number in range(30)]
    store.write(tmp_path / "e.parquet", episodes)
    assert pq.ParquetFile(tmp_path / "e.parquet").num_row_groups == 5
    assert store.read(tmp_path / "e.parquet") == episodes


def test_a_folder_of_shards_is_one_set_read_lazily(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(store, "GROUPS_KEPT", 2)
    episodes = [episode(number) for number in range(25)]
    for number in range(3):
        store.write(store.shard_path(tmp_path, number), episodes[10 * number : 10 * number + 10])
    lazy = store.Episodes.open(tmp_path)
    assert len(lazy) == 25 and list(lazy) == episodes == store.read(tmp_path)
    assert [lazy[row] for row in (0, 24, 9, 10, -1, 3)] == [episodes[row] for row in (0, 24, 9, 10, -1, 3)]
    assert (
        list(lazy[7:22]) == episodes[7:22] and lazy[7:22][5] == episodes[12] and list(lazy[3:][4:9]) == episodes[7:12]
    )
    assert list(pickle.loads(pickle.dumps(lazy[7:22]))) == episodes[7:22]  # as processes are given it
    assert lazy[8:12].column("episode_id") == ["e8", "e9", "e10", "e11"]
    with pytest.raises(IndexError):
        lazy[25]
    store.shard_path(tmp_path, 1).unlink()
    refused(tmp_path, "part-00001.parquet: is missing")


def test_opening_reads_no_rows(tmp_path):
    path = tmp_path / "e.parquet"
    store.write(path, [episode(number) for number in range(50)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(400) + whole[404:])
    lazy = store.Episodes.open(path)
    assert len(lazy) == 50
    with pytest.raises(UserError, match=r"e\.parquet: (is damaged|holds what is no episode)"):
        list(lazy)


def test_poses_that_the_columns_cannot_say_are_refused(tmp_path):
    for change in (
        {"position": (0.1234, 0.0, 0.0)}, {"quaternion": (0.5, 0.5, 0.5, 0.5)}, {"name": "apple"},
        {"name": "013_apple:01"},
    ):  # fmt: skip
        with pytest.raises(UserError, match="episode e0: "):
            store.write(tmp_path / "e.parquet", [episode(objects=(replace(APPLE, **change),))])
    assert not list(tmp_path.iterdir())


def test_every_heading_is_read_as_it_was_written():
    mrad = range(-3142, 3143)
    assert [columns._heading(columns.upright(heading)) for heading in mrad] == list(mrad)


@needs_release
def test_released_episodes_are_read_as_they_were_imported(tmp_path):
    episodes = read(release_files([released_folder()])[:2])
    store.write(tmp_path / "e.parquet", episodes)
    assert store.read(tmp_path / "e.parquet") == episodes and len(episodes) == 200


def test_content_is_what_the_robot_is_asked_and_meets():
    same = replace(episode(), episode_id="x", split="new_scenes", family="find", template="t", plan=(), recorded=())
    assert content(same) == content(episode())
    others = [
        {"instruction": "Else."}, {"layout": "gen_train_0002"}, {"start": ()}, {"goal": parse("AND(not_holding())")},
        {"objects": (APPLE,)}, {"objects": (replace(APPLE, variant=1), episode().objects[1])},
    ]  # fmt: skip
    assert len({content(episode(**change)) for change in others} | {content(episode())}) == len(others) + 1


def test_an_empty_data_set_is_valid(tmp_path):
    assert store.write(tmp_path / "e.parquet", []) == 0
    assert store.read(tmp_path / "e.parquet") == []
    assert pq.read_schema(tmp_path / "e.parquet").equals(store.SCHEMA)


def test_the_same_episodes_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        store.write(tmp_path / name, (episode(number) for number in range(50)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_program_finds_typed_columns(tmp_path):
    store.write(tmp_path / "e.parquet", [episode()])
    (row,) = pq.read_table(tmp_path / "e.parquet").to_pylist()
    first = row["objects"][0]
    assert [first[name] for name in ("x_mm", "y_mm", "z_mm", "heading_mrad")] == [100, -2300, 410, 1235]
    assert row["plan"] == ["nav(sofa)", "open_fridge()"]
    metadata = pq.read_metadata(tmp_path / "e.parquet")
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "e.parquet"
    store.write(path, [episode()])

    def breaking():
        yield episode(1)
        raise RuntimeError("generator")

    with pytest.raises(RuntimeError):
        store.write(path, breaking())
    assert store.read(path) == [episode()] and list(tmp_path.iterdir()) == [path]


def refused(path, says):
    with pytest.raises(UserError) as caught:
        store.read(path)
    assert str(path) in str(caught.value) and says in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.parquet", "is missing")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    path = tmp_path / "e.parquet"
    store.write(path, [episode(number) for number in range(5)])
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 501), len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "is no whole Parquet file")


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "e.parquet"
    path.write_text("episode_id,split\n1,train\n")
    refused(path, "is no whole Parquet file")
    pq.write_table(pa.table({"a": [1]}), path)
    refused(path, "holds no episodes")


def rewritten(path, change):
    """The file with its table changed by hand."""
    store.write(path, [episode()])
    table = change(pq.read_table(path))
    pq.write_table(table, path)
    return path


def test_another_schema_version_is_refused(tmp_path):
    newer = {VERSION_KEY: str(store.SCHEMA_VERSION + 1).encode()}
    path = rewritten(tmp_path / "e.parquet", lambda table: table.replace_schema_metadata(newer))
    refused(path, f"has schema version {store.SCHEMA_VERSION + 1}, known here is {store.SCHEMA_VERSION}")


def test_columns_missing_or_of_another_type_are_refused(tmp_path):
    path = rewritten(tmp_path / "e.parquet", lambda table: table.drop_columns("goal"))
    refused(path, "has columns of other types")
    path = rewritten(tmp_path / "f.parquet", lambda t: t.set_column(0, "episode_id", pa.array([1])))
    refused(path, "has columns of other types")


@pytest.mark.parametrize(
    "column, value, says",
    [
        ("goal", "AND(", "holds what is no episode"),
        ("goal", None, "holds what is no episode"),
        ("plan", ["fly(moon)"], "no skill prints as 'fly(moon)'"),
        ("start", ["under(sofa)"], "no predicate under with 1 arguments"),
        ("recorded", None, "holds what is no episode"),
    ],
)
def test_content_that_is_no_episode_is_refused(tmp_path, column, value, says):
    def change(table):
        field = store.SCHEMA.field(column)
        return table.set_column(store.SCHEMA.get_field_index(column), field, pa.array([value], field.type))

    refused(rewritten(tmp_path / "e.parquet", change), says)
