"""Git as the pipeline uses it: commits of single files and tags, with neither index nor working tree touched."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from llarp.errors import UserError

_AUTHOR = {"name": "llarp", "email": "llarp@localhost"}
"""Who commits where git knows nobody."""


def git(root: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """What a git command prints, stripped.

    Args:
        root: a folder of the repository.
        arguments: of `git`.
        variables: of the environment, besides this process's.

    Raises:
        UserError: git refuses, or is not installed.

    """
    environment = {**os.environ, **(variables or {})}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UserError(f"git cannot be run ({error.strerror})", do="install git") from None
    if done.returncode:
        raise UserError(f"git refuses: {done.stderr.strip()}", root.resolve(), "work in a clone of the project")
    return done.stdout.strip()


def tagged(root: Path, tag: str, files: Mapping[str, Path], message: str) -> str:
    """Makes a tag on a commit of its own: the one that is checked out, with some files as they are on disk.

    The commit is on no branch, and the index is left alone.

    Args:
        root: a folder of the repository.
        tag: its name; the tag is annotated.
        files: name in the repository to the file.
        message: of commit and tag.

    Returns:
        The commit.

    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", "HEAD", variables=index)
        for name, path in files.items():
            blob = git(root, "hash-object", "-w", "--no-filters", str(path.resolve()))
            git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", variables=index)
        tree = git(root, "write-tree", variables=index)
    author = _author(root)
    commit = git(root, *author, "commit-tree", "-p", "HEAD", "-m", message, tree)
    git(root, *author, "tag", "--annotate", "--message", message, tag, commit)
    return commit


def _author(root: Path) -> list[str]:
    """Options that say who acts, where git's settings do not."""
    missing = [key for key in _AUTHOR if not git(root, "config", "--default", "", f"user.{key}")]
    return [part for key in missing for part in ("-c", f"user.{key}={_AUTHOR[key]}")]
