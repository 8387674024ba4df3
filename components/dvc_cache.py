"""The objects in DVC's cache of a project, by their md5: where they lie, what folders list, and whether they are whole.

An object is a file's bytes, or the list of a folder's files, whose md5 ends with `.dir`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llarp.errors import UserError

if TYPE_CHECKING:
    from dvc.repo import Repo

FOLDER = ".dir"


class Cache:
    """The cache of one project; `with Cache.of(root) as cache`."""

    def __init__(self, repo: "Repo") -> None:
        """Args:
        repo: that is open as long as this is used.
        """
        self._repo = repo
        self._objects = repo.cache.local

    @classmethod
    @contextmanager
    def of(cls, root: Path) -> "Iterator[Cache]":
        """UserError when there is no DVC project, or its settings cannot be read."""
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            repo = Repo(str(root))
        except DvcException as error:
            raise UserError(f"DVC cannot read the project: {error}", root.resolve(), "see `dvc status`") from error
        with repo:
            yield cls(repo)

    @property
    def remote(self) -> str | None:
        """Name of the remote that DVC takes when none is named; None when there is none."""
        return self._repo.config["core"].get("remote")

    def path(self, md5: str) -> Path:
        """Where an object lies, if it is there."""
        return Path(self._objects.oid_to_path(md5))

    def has(self, md5: str) -> bool:
        """Whether an object is there."""
        return self.path(md5).is_file()

    def is_whole(self, md5: str) -> bool:
        """Whether an object that is there has the bytes that its name says; reads them."""
        return file_md5(self.path(md5)) == md5.removesuffix(FOLDER)

    def listing(self, md5: str) -> dict[str, str] | None:
        """Path in a folder -> md5 of its files; None when the object is gone or is no list of files."""
        try:
            entries = json.loads(self.path(md5).read_bytes())
            return {entry["relpath"]: entry["md5"] for entry in entries}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def md5_of(self, path: Path) -> str:
        """The hash that DVC would give a file or a folder as it is now; writes nothing."""
        if path.is_file():
            return file_md5(path)
        from dvc_data.hashfile.build import build

        ignore = self._repo.dvcignore
        _, _, tree = build(self._objects, str(path.resolve()), self._repo.fs, "md5", dry_run=True, ignore=ignore)
        return str(tree.hash_info.value)

    def fetch(self, md5s: Iterable[str]) -> None:
        """Brings objects that are gone here, and those that folders list, from the remote.

        Raises:
            UserError: there is no remote, or it cannot be reached; objects that it does not have stay gone.

        """
        wanted = list(dict.fromkeys(md5s))
        self._pull(wanted)
        self._pull(entry for md5 in wanted if md5.endswith(FOLDER) for entry in (self.listing(md5) or {}).values())

    def _pull(self, md5s: Iterable[str]) -> None:
        from dvc.exceptions import DvcException
        from dvc_data.hashfile.hash_info import HashInfo

        missing = [HashInfo("md5", md5) for md5 in dict.fromkeys(md5s) if not self.has(md5)]
        if not missing:
            return
        try:
            self._repo.cloud.pull(missing)
        except (DvcException, OSError) as error:
            raise UserError(f"nothing can be fetched: {error}", "DVC's remote", "see `dvc remote list`") from error


def file_md5(path: Path) -> str:
    """As DVC hashes a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
