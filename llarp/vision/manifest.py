"""What a feature store says of itself, and the lock under which that changes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError

from llarp.config import Section
from llarp.errors import UserError
from llarp.vision.index import KeyIndex
from llarp.vision.shard import File, Shard, damaged, map_tensors, writing

MANIFEST = "manifest.json"
FORMAT_VERSION = 2


class IndexFile(File):
    """The table of all keys of the first shards; see `llarp.vision.index`."""

    shards: int = Field(ge=1, description="how many of the shards, from the first, it covers")
    keys: int = Field(ge=1, description="distinct keys in it")


class Manifest(Section):
    """manifest.json."""

    version: int = Field(ge=FORMAT_VERSION, le=FORMAT_VERSION, description="of this format")
    encoder: str = Field(description="identity of the encoder whose features these are")
    preprocessing: dict[str, Any] = Field(description="what the encoder does to an image first")
    image: tuple[int, int] | None = Field(description="height and width of the images, pixels; null: any")
    num_tokens: int = Field(ge=1, description="P, tokens per view")
    dim: int = Field(ge=1, description="D, numbers per token")
    dtype: str = Field(pattern="^float16$", description="of a number")
    rows: int = Field(ge=0, description="views in all shards; one that two writers encoded at once counts twice")
    shards: tuple[Shard, ...]
    index: IndexFile | None

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def files(self) -> tuple[File, ...]:
        """Shards and index."""
        return (*self.shards, *([self.index] if self.index else []))

    def with_shards(self, shards: tuple[Shard, ...]) -> Self:
        """With those shards; the index stays if they begin with what it covers."""
        covered = self.index.shards if self.index else 0
        index = self.index if shards[:covered] == self.shards[:covered] else None
        rows = sum(shard.rows for shard in shards)
        return self.model_copy(update={"shards": shards, "rows": rows, "index": index})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a store; UserError when there is none, or it is damaged or of another version."""
        import json

        path = folder / MANIFEST
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"no feature store ({error.strerror})", path, "run the stage features first") from error
        do = "encode the views again: `llarp features warm`"
        try:
            values = json.loads(data)
            version = values.get("version") if isinstance(values, dict) else None
            if isinstance(version, int) and version != FORMAT_VERSION:
                what = f"is of version {version} of the format, not {FORMAT_VERSION}"
                raise UserError(f"the feature store {what}", path, do)
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"damaged manifest: {where}: {first['msg']}", path, do) from None
        except ValueError as error:
            raise UserError(f"damaged manifest: {error}", path, do) from None

    def write(self, folder: Path) -> None:
        """Puts it in the place of the one before, at one stroke; UserError when it cannot."""
        with writing(folder) as aside:
            (aside / MANIFEST).write_text(self.model_dump_json(indent=1) + "\n")
            os.replace(aside / MANIFEST, folder / MANIFEST)


def map_table(folder: Path, file: IndexFile) -> KeyIndex:
    """The table in an index file, mapped; UserError when it is not what it should be."""
    tensors = map_tensors(folder / file.file)
    shapes = {name: (array.dtype.str[1:], array.shape[1:]) for name, array in tensors.items()}
    if shapes != {"slots": ("u8", (2,)), "rows": ("i4", ())} or not file.keys < len(tensors["rows"]) == len(
        tensors["slots"]
    ):
        raise damaged(folder / file.file, f"it does not hold the {file.keys} keys that the manifest says")
    return KeyIndex.of_table(tensors["slots"], tensors["rows"], file.keys)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a store's advisory lock, which the system frees when the process ends, whatever ends it.

    The lock file lies beside the store and is opened for writing, as network file systems want it. UserError when it
    cannot be.
    """
    try:
        handle = os.open(folder.parent / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"cannot be locked ({error.strerror})", folder, "mend its parent's permissions") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
