"""Files that appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llarp.errors import UserError


def _aside(path: Path) -> Path:
    """A fresh name beside `path`, so that the final move stays within one file system."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UserError(
            f"cannot write here ({error.strerror})", path.parent, "choose another folder or mend its permissions"
        ) from error


@contextmanager
def file_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path; moves it to `path` when the block ends well, removes it otherwise."""
    path = Path(path)
    folder = _aside(path)
    try:
        yield folder / path.name
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def folder_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder; it replaces `path` when the block ends well and is removed otherwise."""
    path = Path(path)
    folder = _aside(path)
    fresh = folder / "new"
    try:
        fresh.mkdir()
        yield fresh
        replace_folder(fresh, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(fresh: Path, path: Path) -> None:
    """Moves a folder to `path`, in the place of what is there; both are on one file system."""
    folder = _aside(path)
    old = folder / "old"
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
