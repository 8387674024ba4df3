"""Episodes in Parquet (zstd): one file, or a folder of shards, read lazily.

Opening reads the files' footers alone, so that a set of any size opens at once; rows are read in groups as they are
asked for. The same episodes give the same bytes. An empty file is valid.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.parquet as pq

from llarp.errors import UserError
from llarp.files import file_aside
from llarp.tasks.data.columns import REPEATED, SCHEMA, SCHEMA_VERSION, VERSION_KEY, to_episodes, to_table
from llarp.tasks.episode import Episode

ROWS_PER_GROUP = 1000
"""Episodes that are read together; also what is in memory as columns at a time while writing."""
SHARD_EPISODES = 5000
"""Episodes of a shard; the last one of a folder may have fewer."""
GROUPS_KEPT = 16
"""Row groups that an open set keeps in memory, some 2 MB each."""


def shard_path(folder: Path, number: int) -> Path:
    """Where shard `number` of a folder is."""
    return folder / f"part-{number:05d}.parquet"


def write(path: str | Path, episodes: Iterable[Episode]) -> int:
    """Writes all episodes to one file, whole or not at all; returns how many.

    Raises:
        UserError: the folder cannot be written to, or an object's name or pose is none that the columns can say.

    """
    count = 0
    rest = iter(episodes)
    with file_aside(path) as aside, pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        while group := tuple(islice(rest, ROWS_PER_GROUP)):
            writer.write_table(to_table(group))
            count += len(group)
    return count


def write_table(path: str | Path, table: pa.Table) -> None:
    """As `write`, from a table of `columns.to_table`."""
    with file_aside(path) as aside, pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)


def read(path: str | Path) -> list[Episode]:
    """All episodes of a file or of a folder of shards, in order; errors as `Episodes.open` and its items."""
    return list(Episodes.open(path))


@dataclass(frozen=True)
class _Group:
    """A row group of a file."""

    path: Path
    number: int
    first: int
    """Number of its first row in the whole set."""
    rows: int


class Episodes(Sequence[Episode]):
    """Episodes of a file or of a folder of shards, read when asked for.

    A slice is a set of its own that reads from the same files. Items, and anything read from a file, raise UserError
    when the file holds what cannot be parsed.
    """

    def __init__(self, groups: tuple[_Group, ...], rows: range) -> None:
        self._groups, self._rows = groups, rows
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> "Episodes":
        """Opens a file or folder.

        Raises:
            UserError: it is missing, damaged, foreign, of another schema version, or lacks a shard.

        """
        groups: list[_Group] = []
        first = 0
        for file in _files(Path(path)):
            metadata = _metadata(file)
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                groups.append(_Group(file, number, first, rows))
                first += rows
        return cls(tuple(groups), range(first))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> "Episodes": ...
    def __getitem__(self, index: int | slice) -> "Episode | Episodes":
        if isinstance(index, slice):
            return Episodes(self._groups, self._rows[index])
        row = self._rows[index]
        number = self._group_of(row)
        table = self._kept.get(number)
        if table is None:
            table = self._kept[number] = _read(self._groups[number])
            if len(self._kept) > GROUPS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        (episode,) = _parse(self._groups[number], table.slice(row - self._groups[number].first, 1))
        return episode

    def __iter__(self) -> Iterator[Episode]:
        for group, table in self._tables():
            yield from _parse(group, table)

    def column(self, name: str) -> list[Any]:
        """One value per episode of a column of `columns.SCHEMA`; the other columns are not read."""
        return [value for _, table in self._tables([name]) for value in table.column(name).to_pylist()]

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns, a row group at a time."""
        return (table for _, table in self._tables(names))

    def _tables(self, names: Sequence[str] | None = None) -> Iterator[tuple[_Group, pa.Table]]:
        """Each row group that has rows of this set, cut down to those; in order."""
        if self._rows.step != 1:
            raise ValueError("rows of a set with gaps are read one by one")
        for group in self._groups:
            start, stop = max(self._rows.start, group.first), min(self._rows.stop, group.first + group.rows)
            if start < stop:
                yield group, _read(group, names).slice(start - group.first, stop - start)

    def _group_of(self, row: int) -> int:
        from bisect import bisect_right

        return bisect_right(self._groups, row, key=lambda group: group.first) - 1

    def __getstate__(self) -> tuple[Any, ...]:
        """Without what was read: another process reads for itself."""
        return self._groups, self._rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]


def _files(path: Path) -> list[Path]:
    """A file itself; the shards of a folder."""
    if not path.is_dir():
        return [path]
    shards = sorted(file for file in path.iterdir() if re.fullmatch(r"part-\d+\.parquet", file.name))
    for number in range(max(1, len(shards))):
        if (missing := shard_path(path, number)) not in shards:
            raise UserError("is missing", missing, "run the stage that writes it")
    return shards


def _metadata(path: Path) -> pq.FileMetaData:
    """A file's footer, checked to be of this schema."""
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except OSError as error:
        if not path.exists():
            raise UserError("is missing", path, "run the stage that writes it, or `llarp import`") from None
        raise UserError(f"cannot be read ({error})", path, "write it again") from None
    except pa.ArrowException as error:
        raise UserError(f"is no whole Parquet file ({error})", path, "write it again") from None
    version = (schema.metadata or {}).get(VERSION_KEY)
    if version is None:
        raise UserError("holds no episodes", path, "name a file written by `llarp import` or the episodes stage")
    if version != str(SCHEMA_VERSION).encode():
        raise UserError(
            f"has schema version {version.decode(errors='replace')}, known here is {SCHEMA_VERSION}",
            path,
            "update llarp, or write the episodes again",
        )
    if not schema.equals(SCHEMA):
        raise UserError("has columns of other types than its version says", path, "write it again")
    return metadata


def _read(group: _Group, names: Sequence[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(group.path, read_dictionary=REPEATED) as file:
            return file.read_row_group(group.number, columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"is damaged ({error})", group.path, "write it again") from None


def _parse(group: _Group, table: pa.Table) -> Iterator[Episode]:
    try:
        yield from to_episodes(table)
    except (ValueError, TypeError) as error:
        raise UserError(f"holds what is no episode: {error}", group.path, "write it again") from None
