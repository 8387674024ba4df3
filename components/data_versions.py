"""Versions of the data set: git tags `data/NAME`, each on a commit of its own from which DVC finds the bytes.

That commit is the checked-out one plus dvc.lock, params.yaml and the report on the data, as they are in the workspace.
It is on no branch and touches neither index nor files, so that dvc.lock need not be committed; and it is a whole
revision of the project, so that every tool that takes one knows the version: `dvc get . data/episodes --rev data/v1`.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.git import git, tagged
from components.lineage import Lineage
from components.paths import Paths
from llarp.errors import UserError
from llarp.files import replace_folder
from llarp.tasks.data.dataset import REPORT, Report

PREFIX = "data/"
"""Begins the tags of versions."""
_REPORT = "data-report.json"
"""The report in a version's commit."""
_STAGE = "episodes"


@dataclass(frozen=True)
class Version:
    """One version of the data set."""

    name: str
    """Of the tag, without PREFIX; empty for the workspace."""
    date: str
    """Of the tag, as in 2026-11-23; empty for the workspace."""
    md5: str
    """DVC's hash of data/episodes."""
    params: Mapping[str, Any]
    """The parameters that it was generated with, under their dotted keys."""
    report: Report

    @property
    def revision(self) -> str | None:
        """Git's name of it; None for the workspace."""
        return PREFIX + self.name if self.name else None


def versions(paths: Paths) -> list[Version]:
    """All versions, oldest first; UserError outside a git repository."""
    form = "--format=%(refname:lstrip=2) %(creatordate:short)"
    tags = git(paths.root, "for-each-ref", "--sort=creatordate", "--sort=version:refname", form, f"refs/tags/{PREFIX}")
    return [_version(paths, *line.split()) for line in tags.splitlines()]


def version(paths: Paths, name: str) -> Version:
    """The version called `name` or `data/name`; UserError when there is none."""
    known = {entry.name: entry for entry in versions(paths)}
    try:
        return known[name.removeprefix(PREFIX)]
    except KeyError:
        do = f"choose one of: {', '.join(known)}" if known else "make one with `llarp data tag`"
        raise UserError(f"no version of the data is called {name!r}", do=do) from None


def workspace(paths: Paths) -> Version:
    """What is in data/episodes now; UserError when the stage has not run."""
    entry = Lineage(paths).stage_lock(_STAGE)
    md5 = next((out["md5"] for out in entry.get("outs", ()) if out["path"] == _path(paths)), None)
    if md5 is None or not (paths.episodes / REPORT).exists():
        raise UserError("has not been written by DVC yet", paths.episodes, "run `llarp run`, or `dvc repro episodes`")
    return Version("", "", md5, _params(entry), Report.read(paths.episodes / REPORT))


def md5_of(paths: Paths) -> str | None:
    """DVC's hash of data/episodes in the workspace; None when there are no data."""
    return Lineage(paths).hashes.get(_path(paths))


def name_of(paths: Paths) -> str | None:
    """The version that is in the workspace: its tag, or DVC's hash when it has none; None when there are no data."""
    md5 = md5_of(paths)
    try:
        return next((str(entry.revision) for entry in versions(paths) if entry.md5 == md5), md5)
    except UserError:  # no git here
        return md5


def write_seen(paths: Paths, folder: Path) -> None:
    """Writes data.json into a policy's folder: the version of the data that it has learnt from, and DVC's hash."""
    seen = {"version": name_of(paths), "md5": md5_of(paths)}
    (folder / "data.json").write_text(json.dumps(seen, indent=1) + "\n")


def tag(paths: Paths, name: str | None = None) -> tuple[Version, bool]:
    """Makes the workspace's data a version, unless they are one already.

    Args:
        paths: of the project.
        name: None numbers the versions: v1, v2, ...

    Returns:
        The version, and whether it is new.

    Raises:
        UserError: there are no data, or the name is taken or none that git allows.

    """
    here, known = workspace(paths), versions(paths)
    for entry in known:
        if entry.md5 == here.md5:
            return entry, False
    numbers = [int(entry.name[1:]) for entry in known if re.fullmatch(r"v\d+", entry.name)]
    name = f"v{max(numbers, default=0) + 1}" if name is None else name.removeprefix(PREFIX)
    if name in {entry.name for entry in known}:
        raise UserError(f"there is a version called {name!r} already, of other data", do="choose another name")
    if not re.fullmatch(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*", name):
        raise UserError(f"{name!r} cannot be the name of a version", do="use letters, digits, dots and dashes")
    message = f"Data version {name}: {here.report.episodes} episodes, seed {here.report.seed}"
    files = {"dvc.lock": paths.lock, "params.yaml": paths.params, _REPORT: paths.episodes / REPORT}
    tagged(paths.root, PREFIX + name, files, message)
    return version(paths, name), True


@contextmanager
def fetched(paths: Paths, wanted: Version) -> Iterator[Path]:
    """Yields a temporary folder with what the stage `episodes` wrote for a version: `episodes` and `run.json`.

    Raises:
        UserError: neither DVC's cache nor its remote has the bytes.

    """
    paths.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.state) as name:
        folder, files = Path(name), _file_system(paths, wanted)
        try:
            files.get(_path(paths), str(folder / "episodes"), recursive=True)
            files.get(paths.run(_STAGE).relative_to(paths.root).as_posix(), str(folder / "run.json"))
        except Exception as error:  # DVC has many for this
            raise _not_cached(wanted, error) from None
        yield folder


def place(paths: Paths, folder: Path) -> None:
    """Puts what `fetched` yielded into the workspace; from now on DVC takes it as the stage's output.

    params.yaml must name the version's parameters already.
    """
    replace_folder(folder / "episodes", paths.episodes)
    paths.run(_STAGE).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "run.json", paths.run(_STAGE))
    commit(paths)


def commit(paths: Paths) -> None:
    """Lets DVC take what is in the workspace as the output of the stage `episodes`."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(paths.root), _wait_for_lock=True) as repo:
            repo.commit(_STAGE, force=True)
    except DvcException as error:
        raise UserError(f"DVC does not take the episodes: {error}", paths.episodes, "see `dvc status`") from error


def _file_system(paths: Paths, wanted: Version) -> Any:
    """A version's files as DVC has them; the workspace's for a version without a name."""
    from dvc.api import DVCFileSystem

    return DVCFileSystem(str(paths.root), rev=wanted.revision)


def episode_names(paths: Paths, wanted: Version, but: Mapping[str, str]) -> Iterator[tuple[str, bytes, str]]:
    """(split, content, name) of every episode.

    Args:
        paths: of the project.
        wanted: the version.
        but: files (`train/part-00000.parquet`) to their md5: those that are the same here are left out.

    """
    import pyarrow.parquet as pq

    files = _file_system(paths, wanted)
    for name, md5 in shards(paths, wanted).items():
        if but.get(name) == md5:
            continue
        try:
            with files.open(f"{_path(paths)}/{name}") as file:
                table = pq.read_table(file, columns=["content", "episode_id"])
        except OSError as error:
            raise _not_cached(wanted, error) from None
        split = name.split("/")[0]
        for content, episode in zip(*(table.column(key).to_pylist() for key in table.column_names), strict=True):
            yield split, content, episode


def shards(paths: Paths, wanted: Version) -> dict[str, str]:
    """Files with episodes (`train/part-00000.parquet`) to DVC's md5 of each."""
    root = _path(paths)
    try:
        found = _file_system(paths, wanted).find(root, detail=True)
    except Exception as error:  # DVC has many for this
        raise _not_cached(wanted, error) from None
    names = {path.split(f"{root}/")[-1]: info for path, info in found.items() if path.endswith(".parquet")}
    return {name: _md5(info) for name, info in sorted(names.items())}


def _md5(info: Mapping[str, Any]) -> str:
    entry = info.get("dvc_info", {}).get("entry")
    return info.get("md5") or (entry.hash_info.value if entry is not None and entry.hash_info else "")


def _not_cached(wanted: Version, error: Exception) -> UserError:
    return UserError(
        f"the bytes of version {wanted.name} are not in DVC's cache here ({type(error).__name__})",
        wanted.revision,
        "fetch them from the remote that has them: dvc fetch --all-tags",
    )


def _version(paths: Paths, tag: str, date: str) -> Version:
    import yaml

    try:
        lock = yaml.safe_load(git(paths.root, "show", f"{tag}:dvc.lock"))
        entry = lock["stages"][_STAGE]
        md5 = next(out["md5"] for out in entry["outs"] if out["path"] == _path(paths))
        report = Report.from_json(git(paths.root, "show", f"{tag}:{_REPORT}"))
    except (UserError, yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration):
        raise UserError("is no version of the data", f"tag {tag}", f"remove it: git tag -d {tag}") from None
    return Version(tag.removeprefix(PREFIX), date, md5, _params(entry), report)


def _params(lock_entry: Mapping[str, Any]) -> dict[str, Any]:
    return dict(lock_entry.get("params", {}).get("params.yaml", {}))


def _path(paths: Paths) -> str:
    return paths.episodes.relative_to(paths.root).as_posix()
