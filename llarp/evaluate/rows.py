"""One row per episode and policy: what an evaluation keeps, as typed Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from llarp.environments.base import AnyEpisode
from llarp.errors import UserError
from llarp.files import file_aside

SCHEMA_VERSION = 1
"""Raised whenever a column changes; readers refuse other versions."""


class Row(TypedDict):
    """How one policy did in one episode."""

    policy: str
    """Name in the results: policy, blind, random or expert."""
    source: str
    """Where the episode comes from: generated or released."""
    split: str
    """A key of `llarp.environments.base.Environment.splits`."""
    family: str
    template: str
    episode_id: str
    layout: str
    instruction: str
    success: bool
    """Whether the goal held within the horizon."""
    progress: float
    """[0, 1] largest fraction of the subgoals reached; 1 on success."""
    invalid_actions: int
    """Actions whose precondition failed."""
    steps: int
    """Actions taken, at most the horizon."""
    reward: float
    """Sum of the step rewards, not discounted."""
    actions: list[str]
    """Every action in order, by name; replaying them gives the same views."""


_TYPES = {str: "string", bool: "bool", float: "float64", int: "int32", list[str]: "list<string>"}


def source(episode: AnyEpisode) -> str:
    """`released` for an episode of the benchmark's public release, else `generated`."""
    return "released" if episode.recorded else "generated"


def _schema() -> Any:
    import pyarrow as pa

    fields = []
    for name, kind in Row.__annotations__.items():
        arrow = pa.list_(pa.string()) if kind == list[str] else pa.type_for_alias(_TYPES[kind])
        fields.append(pa.field(name, arrow, nullable=False))
    return pa.schema(fields, metadata={"llarp_rows": str(SCHEMA_VERSION)})


def write(path: str | Path, rows: Sequence[Row]) -> None:
    """Writes rows in order to one Parquet file, whole or not at all; UserError when the folder is not writable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(cast(list[dict[str, Any]], list(rows)), schema=_schema())
    with file_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read(path: str | Path) -> list[Row]:
    """Reads what `write` wrote; UserError for a missing, truncated or foreign file or another schema version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"is no readable Parquet file ({type(error).__name__})", path, "run `llarp run` to evaluate again"
        ) from error
    version = (table.schema.metadata or {}).get(b"llarp_rows")
    if version != str(SCHEMA_VERSION).encode():
        found = "is no table of evaluated episodes" if version is None else f"has schema version {version.decode()}"
        raise UserError(f"{found}, expected version {SCHEMA_VERSION}", path, "run `llarp run` to evaluate again")
    return cast(list[Row], table.to_pylist())
