"""Results on disk."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_rows import make_row

from llarp.errors import UserError
from llarp.evaluate import rows


def test_rows_survive_their_file(tmp_path):
    written = [make_row(), make_row(policy="random", success=True, actions=[]), make_row(instruction="Älteres „Obst“")]
    rows.write(tmp_path / "rows.parquet", written)
    assert rows.read(tmp_path / "rows.parquet") == written


def test_no_rows_are_a_valid_table_with_typed_columns(tmp_path):
    rows.write(tmp_path / "rows.parquet", [])
    assert rows.read(tmp_path / "rows.parquet") == []
    schema = pq.read_schema(tmp_path / "rows.parquet")
    assert schema.names == list(rows.Row.__annotations__)
    assert (schema.field("success").type, schema.field("actions").type) == (pa.bool_(), pa.list_(pa.string()))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    rows.write(path, [make_row()])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"rows\.parquet: is no readable Parquet"):
        rows.read(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="FileNotFoundError"):
        rows.read(tmp_path / "rows.parquet")


def test_a_foreign_table_is_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    with pytest.raises(UserError, match="is no table of evaluated episodes"):
        rows.read(tmp_path / "foreign.parquet")


def test_another_schema_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SCHEMA_VERSION", 99)
    rows.write(tmp_path / "rows.parquet", [make_row()])
    monkeypatch.undo()
    with pytest.raises(UserError, match="has schema version 99, expected version 1"):
        rows.read(tmp_path / "rows.parquet")


def test_a_row_without_a_column_is_refused_and_leaves_no_file(tmp_path):
    row = make_row()
    del row["success"]
    with pytest.raises((KeyError, pa.ArrowException, ValueError)):
        rows.write(tmp_path / "rows.parquet", [row])
    assert list(tmp_path.iterdir()) == []
