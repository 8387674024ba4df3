"""What is cloned: per episode, the views that the expert had and the action it chose at each."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llarp.errors import UserError
from llarp.files import file_aside

SCHEMA_VERSION = 2
_VERSION_KEY, _ACTIONS_KEY = b"llarp_demonstrations", b"llarp_actions"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One episode of T steps."""

    episode_id: str
    instruction: str
    keys: Sequence[bytes]
    """T view keys of 16 bytes: what was seen before each action; see `Simulator.view_key`."""
    actions: Sequence[int]
    """T numbers of actions, from 0: what is imitated."""
    taken: Sequence[int] | None = None
    """T numbers of what was carried out where somebody else than the expert played; None: the same. Never stored."""

    def __post_init__(self) -> None:
        if not self.actions or len(self.keys) != len(self.actions):
            raise ValueError(f"{self.episode_id}: {len(self.keys)} views for {len(self.actions)} actions")
        if min(self.actions) < 0:
            raise ValueError(f"{self.episode_id}: an action below 0")

    def __len__(self) -> int:
        """T."""
        return len(self.actions)


class Demonstrations(list[Demonstration]):
    """Demonstrations in one action space."""

    def __init__(self, demonstrations: Iterable[Demonstration], actions: Sequence[str]) -> None:
        """Args:
        demonstrations: any number.
        actions: names of all actions; ValueError when a demonstration has one beyond them.
        """
        super().__init__(demonstrations)
        self.actions = tuple(actions)
        for demonstration in self:
            if max(demonstration.actions) >= len(self.actions):
                raise ValueError(f"{demonstration.episode_id}: an action beyond the {len(self.actions)} that there are")


def write(path: Path, demonstrations: Demonstrations) -> None:
    """Writes one Parquet file (zstd), whole or not at all; UserError when the folder cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"episode_id": d.episode_id, "instruction": d.instruction, "keys": list(d.keys), "actions": list(d.actions)}
        for d in demonstrations
    ]
    schema = pa.schema(
        {
            "episode_id": pa.string(),
            "instruction": pa.string(),
            "keys": pa.list_(pa.binary(16)),
            "actions": pa.list_(pa.int16()),
        },
        metadata={_VERSION_KEY: str(SCHEMA_VERSION), _ACTIONS_KEY: json.dumps(demonstrations.actions)},
    )
    with file_aside(path) as aside:
        pq.write_table(pa.Table.from_pylist(rows, schema), aside, compression="zstd")


def read(path: Path) -> Demonstrations:
    """Reads what `write` wrote; UserError when the file is missing, truncated, foreign or of another version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    do = "run the stage `features` again"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"no readable Parquet file: {error}", path, do) from error
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version != str(SCHEMA_VERSION).encode():
        found = "none" if version is None else version.decode(errors="replace")
        raise UserError(f"demonstrations of version {SCHEMA_VERSION} expected, found {found}", path, do)
    try:
        actions = json.loads(table.schema.metadata[_ACTIONS_KEY])
        return Demonstrations((Demonstration(**row) for row in table.to_pylist()), actions)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"damaged demonstration: {error}", path, do) from error
