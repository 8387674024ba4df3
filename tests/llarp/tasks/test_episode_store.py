from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llarp.errors import UserError
from llarp.tasks import store
from llarp.tasks.episode import Episode, ObjectInstance
from llarp.tasks.goals import Predicate, parse
from llarp.tasks.skills import Skill

APPLE = ObjectInstance(
    "013_apple:0", "apple", "013_apple", 3, "sofa", (0.1, -2.30000000001, 0.41), (0.6, 0.0, 0.0, 0.8)
)


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
    assert row["objects"][0]["position"] == [0.1, -2.30000000001, 0.41] and row["plan"] == [
        "nav(sofa)",
        "open_fridge()",
    ]
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
    newer = {store._VERSION_KEY: str(store.SCHEMA_VERSION + 1).encode()}
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
