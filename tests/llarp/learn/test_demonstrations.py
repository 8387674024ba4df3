"""Demonstrations survive the file; damaged and foreign files are told."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llarp.errors import UserError
from llarp.learn.demonstrations import Demonstration, Demonstrations, read, write

ACTIONS = ("wait", "go left", "go right", "springe")
SOME = Demonstrations(
    [
        Demonstration("a", "Move an apple to the sofa", [bytes(range(16)), b"\x00" * 16], [3, 1]),
        Demonstration("b", "Öffne den Kühlschrank", [b"\xff" * 16], [0]),
    ],
    ACTIONS,
)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "sub" / "d.parquet", SOME)
    found = read(tmp_path / "sub" / "d.parquet")
    assert found == SOME and found.actions == ACTIONS
    write(tmp_path / "none.parquet", Demonstrations([], ACTIONS))
    assert read(tmp_path / "none.parquet") == []
    assert pq.read_schema(tmp_path / "none.parquet").field("keys").type.value_type == pa.binary(16)


@pytest.mark.parametrize(
    ("keys", "actions"), [([b"0" * 16], [1, 2]), ([], []), ([b"0" * 16], [4]), ([b"0" * 16], [-1])]
)
def test_impossible_demonstrations_are_refused(keys, actions):
    with pytest.raises(ValueError, match="a: "):
        Demonstrations([Demonstration("a", "go", keys, actions)], ACTIONS)


def test_missing_truncated_foreign_and_other_versions_are_told(tmp_path):
    path = tmp_path / "d.parquet"
    with pytest.raises(UserError, match=r"d.parquet: no readable Parquet"):
        read(path)
    write(path, SOME)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"d.parquet: no readable Parquet"):
        read(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(UserError, match="version 2 expected, found none"):
        read(path)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"llarp_demonstrations": "9"}), path)
    with pytest.raises(UserError, match="version 2 expected, found 9"):
        read(path)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"llarp_demonstrations": "2"}), path)
    with pytest.raises(UserError, match="damaged demonstration"):
        read(path)


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    with pytest.raises(pa.ArrowInvalid):
        write(tmp_path / "d.parquet", Demonstrations([Demonstration("a", "go", [b"short"], [1])], ACTIONS))
    assert list(tmp_path.iterdir()) == []
