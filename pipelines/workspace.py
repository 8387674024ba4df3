"""Workspaces: folders in which flow runs work, so that they disturb neither each other nor the checkout.

A workspace is a git worktree in `.llarp/workspaces/NAME`, at a commit, with a params.yaml of its own. It shares with
the project DVC's cache (what it reads is linked, not copied), remotes, the overlay of features and what MLflow has
still to be told; checkpoints and unfinished work are its own and outlive a crash, so that a run that is started again
goes on where it was. The checkout itself counts as the workspace of whoever works in it by hand.

Each workspace is locked by the run that works in it. `.llarp/workspace.json` in it says what it is for, and is written
last: a folder without it was never finished, and is made anew.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.git import git
from components.paths import Paths
from llarp.errors import UserError
from llarp.files import file_aside
from pipelines.processes import end_marked

SHARED = ("features", "unsent", "mlartifacts", "mlflow.lock", "registry.lock")
"""Of the state: what all workspaces have in common. Checkpoints are each one's own."""
KEEP = 2
"""Workspaces of runs that ended well that are kept to be looked at."""
KEEP_DAYS = 14.0
"""A workspace whose run did not end well may be wanted for going on; after so long it goes."""
_WORKSPACE = "LLARP_WORKSPACE"
"""Variable that marks the processes of the run that works there."""
_NOTE = Path(".llarp") / "workspace.json"


@dataclass(frozen=True)
class Workspace:
    """A folder in which one run at a time works."""

    name: str
    root: Path
    commit: str
    """That is checked out there."""
    begun_s: float
    """When it was made, since 1970."""
    state: Literal["made", "running", "completed", "failed"]
    """What became of its last run; `running` also of one that crashed, `made` before its data are in place."""

    @property
    def paths(self) -> Paths:
        """Its files."""
        return Paths(self.root)

    def note(self, state: str) -> None:
        """Remembers what has become of its run."""
        facts = {"commit": self.commit, "begun_s": self.begun_s, "state": state}
        with file_aside(self.root / _NOTE) as aside:
            aside.write_text(json.dumps(facts) + "\n")


@contextmanager
def in_checkout(project: Path) -> Iterator[Paths]:
    """The checkout itself, for a run by hand; UserError when another run works there."""
    root = project.resolve()
    with _locked(Paths(root).state / "run.lock", root), _alone(root):
        yield Paths(project)


@contextmanager
def opened(project: Path, name: str, revision: str = "HEAD") -> Iterator[Workspace]:
    """The workspace of that name, as it was left, or a new one at a revision.

    A new one begins with the dvc.lock that the last run that ended well, of any workspace, has left, unless git has
    one: a stage for which nothing has changed does not run again.

    Args:
        project: folder of the clone.
        name: letters, digits, dots and dashes.
        revision: of git; a workspace that is there already keeps its own.

    Raises:
        UserError: a name that cannot be, no such revision, or another run works there.

    """
    project = project.resolve()
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise UserError(f"{name!r} cannot be the name of a workspace", do="use letters, digits, dots and dashes")
    root = folder_of(project) / name
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(_lock_file(root), root), _alone(root):
        found = read(root)
        if found is None:
            found = _make(project, root, revision)
        yield found


def all_of(project: Path) -> list[Workspace]:
    """The workspaces of a project, newest first."""
    found = [read(root) for root in folder_of(project).glob("[!.]*") if root.is_dir()]
    return sorted((each for each in found if each is not None), key=lambda each: -each.begun_s)


def remove_old(project: Path, keep: int = KEEP, keep_days: float = KEEP_DAYS) -> list[str]:
    """Removes workspaces that nobody works in and nobody will want any more.

    Args:
        project: folder of the clone.
        keep: how many of runs that ended well stay.
        keep_days: how long those of other runs stay.

    Returns:
        Names of those that are gone.

    """
    gone: list[str] = []
    good = 0
    for each in all_of(project):
        good += each.state == "completed"
        if each.state == "completed" and good <= keep:
            continue
        if each.state != "completed" and time.time() - each.begun_s < keep_days * 86400:
            continue
        with suppress(UserError):
            remove(project, each.name)
            gone.append(each.name)
    return gone


def remove(project: Path, name: str) -> None:
    """Removes a workspace; UserError when there is none, or a run works in it."""
    root = folder_of(project.resolve()) / name
    if not root.is_dir():
        raise UserError(f"there is no workspace {name!r}", folder_of(project), "see `llarp workspaces list`")
    lock = _lock_file(root)
    with _locked(lock, root):
        _remove(project, root)
    lock.unlink(missing_ok=True)


def folder_of(project: Path) -> Path:
    """Where the workspaces of a project lie."""
    return Paths(project).state / "workspaces"


def read(root: Path) -> Workspace | None:
    """The workspace in a folder; None when none was finished there."""
    try:
        return Workspace(root.name, root, **json.loads((root / _NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def bring(project: Path, workspace: Workspace, names: Iterable[str]) -> None:
    """Copies files or folders that git does not have into a workspace, as they are now; those of git it has."""
    for name in names:
        source, target = project / name, workspace.root / name
        if Path(name).is_absolute() or not source.exists():
            continue
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def keep_lock(project: Path, paths: Paths) -> None:
    """Makes what a run that ended well has left in dvc.lock that which new workspaces begin with."""
    with file_aside(_last_lock(project)) as aside:
        shutil.copy(paths.lock, aside)


def _make(project: Path, root: Path, revision: str) -> Workspace:
    commit = _commit(project, revision)
    with _locked(folder_of(project) / ".making.lock", root, wait=True):  # of git's own list of worktrees
        _remove(project, root)
        git(project, "worktree", "add", "--detach", "--quiet", str(root), commit)
    (root / ".llarp").mkdir()
    shared = Paths(project).state
    for name in SHARED:
        target = shared / name
        target.touch() if name.endswith(".lock") else target.mkdir(exist_ok=True)
        (root / ".llarp" / name).symlink_to(target)
    _configure(project, root)
    paths = Paths(root)
    if not paths.lock.exists():
        last = next((file for file in (_last_lock(project), Paths(project).lock) if file.exists()), None)
        if last is not None:
            shutil.copy(last, paths.lock)
    made = Workspace(root.name, root, commit, time.time(), "made")
    made.note("made")
    return made


def _configure(project: Path, root: Path) -> None:
    """DVC in the workspace: the project's cache, linked; its remotes, whose relative paths are those of the project."""
    from dvc.config import Config

    of_project: Any = Config(str(project / ".dvc"))
    with Config(str(root / ".dvc")).edit("local") as local:
        local["cache"]["dir"] = of_project["cache"].get("dir") or str(project / ".dvc" / "cache")
        local["cache"]["type"] = ["reflink", "hardlink", "copy"]
        local["remote"].update({name: dict(remote) for name, remote in of_project["remote"].items()})
        if "remote" in of_project["core"]:
            local["core"]["remote"] = of_project["core"]["remote"]
    (root / ".dvc" / "config.local").chmod(0o600)  # remotes may have passwords


def _commit(project: Path, revision: str) -> str:
    try:
        return git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except UserError:
        raise UserError(f"no revision is called {revision!r}", project, "name a commit, branch or tag") from None


def _remove(project: Path, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    git(project, "worktree", "prune")


def _last_lock(project: Path) -> Path:
    return Paths(project).state / "dvc.lock"


def _lock_file(root: Path) -> Path:
    """Beside a workspace rather than in it, since making one anew removes it."""
    return root.parent / f".{root.name}.lock"


@contextmanager
def _locked(path: Path, root: Path, wait: bool = False) -> Iterator[None]:
    """Holds a lock file for a folder; UserError when another process does, unless that is waited for.

    A process that dies lets go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "unknown"
            raise UserError(f"another run works here (process {who})", root, "wait for its end, or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Ends what a run that was killed has left at work in a workspace, and marks what this one starts."""
    end_marked(_WORKSPACE, str(root))
    os.environ[_WORKSPACE] = str(root)
    try:
        yield
    finally:
        os.environ.pop(_WORKSPACE, None)
