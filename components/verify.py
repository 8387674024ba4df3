"""The proof of a version's lineage: every recorded hash that can be reached from here is computed again.

The chain begins at the registry, whose tags hold the sha256 of `lineage.json` and of the version's files; the record
holds all other hashes. Whoever can change both the registry's tags and the files is not found out; see
docs/lineage.md.
"""

import hashlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components import lineage_record, model_files
from components.dvc_cache import FOLDER, Cache, file_md5
from components.lineage_record import STAGE, TEMPLATES, Record
from components.model_files import LINEAGE_SHA256, MODEL_SHA256, RECORD
from components.paths import Paths
from components.weights import backbone_sha256, encoder_sha256
from llarp.errors import UserError
from llarp.files import sha256
from llarp.progress import track

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

State = Literal["matches", "changed", "gone", "unknown"]
"""`gone`: cannot be found here; `unknown`: nothing was recorded that it could be compared with."""

_SAME = {"artifacts/policy": "data/policy", "artifacts/encoder": "data/encoder"}
"""Folder of a version -> the output of a stage that was copied there."""
_CODE = "code/"
"""Folder of a version with the package as it was."""
_FETCH = "fetch it: `llarp lineage verify --fetch`"


@dataclass(frozen=True)
class Finding:
    """What became of one thing that the record tells of."""

    what: str
    """Its kind."""
    where: str
    """Its path, hash or name."""
    state: State
    detail: str = ""
    """For whoever wants to mend it."""

    @property
    def is_bad(self) -> bool:
        """Whether the lineage is no longer proved."""
        return self.state in ("changed", "gone")


def verify(uri: str, paths: Paths, fetch: bool = False) -> list[Finding]:
    """Computes again what can be reached.

    Args:
        uri: of a version, as `models:/llarp@champion`.
        paths: of the project with DVC's cache and git's commits.
        fetch: whether what DVC's cache lacks is fetched from its remote first.

    Raises:
        UserError: there is no such version, or it was registered before lineage was recorded.

    """
    version = model_files.find(uri)
    for tag in (LINEAGE_SHA256, MODEL_SHA256):
        if tag not in version.tags:
            raise UserError(f"was registered without {tag}", model_files.uri_of(version), model_files.AGAIN)
    try:
        record = lineage_record.read(version)
    except UserError as error:
        state: State = "gone" if error.what.endswith("is gone") else "changed"
        return [Finding("record", RECORD, state, f"{error.what}: only tags are left to compare with"), *_bare(version)]
    found = [Finding("record", RECORD, "matches", f"sha256 {version.tags[LINEAGE_SHA256][:12]}")]
    found += _tags(version, record)
    found += _kept(version, record)
    folder = model_files.copy(version)
    found += _model(folder, record.model.files)
    found += _data(record, paths, folder, fetch)
    found += _git(record, paths, folder)
    found += _weights(record)
    found += _runs(record)
    return found


def _bare(version: "ModelVersion") -> Iterator[Finding]:
    """The version's files against the one digest in its tags."""
    try:
        same = model_files.digest(model_files.copy(version)) == version.tags[MODEL_SHA256]
    except UserError as error:
        yield Finding("model", "files", "changed", str(error))
    else:
        yield Finding("model", "files", "matches" if same else "changed", f"all together, against tag {MODEL_SHA256}")


def _tags(version: "ModelVersion", record: Record) -> Iterator[Finding]:
    """The tags that people search by say what the record says."""
    expected = {
        MODEL_SHA256: record.model.sha256,
        "git.commit": record.git.commit,
        "git.dirty": str(record.git.dirty).lower(),
        **{f"dvc.{path}": md5 for path, md5 in record.outputs.items()},
        **{f"backbone.{key}": str(value) for key, value in record.backbone.items()},
        **{f"encoder.{key}": str(value) for key, value in record.encoder.items() if key != "revision"},
        **{f"run.{stage}": record.runs[stage] for stage in ("train", "evaluate") if stage in record.runs},
    }
    if (record.model.name, record.runs.get(STAGE)) != (version.name, version.run_id):
        what = f"is that of {record.model.name}, registered by run {record.runs.get(STAGE)}"
        yield Finding("record", RECORD, "changed", what)
    wrong = [tag for tag, value in expected.items() if version.tags.get(tag) != value]
    for tag in wrong:
        yield _broken("tag", tag, version.tags.get(tag), expected[tag])
    if not wrong:
        yield Finding("tags", model_files.uri_of(version), "matches", f"{len(expected)} tags")


def _kept(version: "ModelVersion", record: Record) -> Iterator[Finding]:
    """dvc.lock and params.yaml in the run that registered."""
    for name, expected in record.files.items():
        if name == TEMPLATES:
            continue
        text = model_files.read_artifact(version.run_id, name)
        yield _compared("kept file", name, None if text is None else hashlib.sha256(text).hexdigest(), expected)


def _model(folder: Path, listed: Mapping[str, str]) -> Iterator[Finding]:
    """Every file of the version."""
    try:
        files = model_files.digests(folder)
        model_files.check_paths(folder)
    except UserError as error:
        yield Finding("model", str(error.where), "changed", error.what)
        files = _readable(folder)
    wrong = [name for name in sorted({*files, *listed}) if files.get(name) != listed.get(name)]
    for name in wrong:
        yield _broken("model", name, files.get(name), listed.get(name))
    if not wrong:
        yield Finding("model", "files", "matches", f"{len(files)} files")


def _readable(folder: Path) -> dict[str, str]:
    """Digests of what is left in a folder that holds what should not be there."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in found}


def _data(record: Record, paths: Paths, folder: Path, fetch: bool) -> Iterator[Finding]:
    """Every object of DVC's cache, and the outputs that were copied into the version."""
    links = {paths.run(name).relative_to(paths.root): stage.link for name, stage in record.stages.items()}
    outputs = record.outputs | {path.as_posix(): md5 for path, md5 in links.items() if md5}
    try:
        with Cache.of(paths.root) as cache:
            if fetch:
                cache.fetch(outputs.values())
            for path, md5 in track(outputs.items(), "outputs", len(outputs), "output"):
                yield from _output(cache, path, md5)
            for part, path in _SAME.items():
                if path in record.outputs:
                    yield from _copied(cache.listing(record.outputs[path]), folder / part, part, path)
    except UserError as error:
        yield Finding("data", "DVC's cache", "gone", str(error))


def _output(cache: Cache, path: str, md5: str) -> Iterator[Finding]:
    """One output: its object and, of a folder, every file."""
    do = _FETCH if cache.remote else "no remote is set from which it could be fetched"
    if not cache.has(md5):
        yield Finding("data", path, "gone", f"md5 {md5} is not in DVC's cache; {do}")
        return
    if not cache.is_whole(md5):
        what = "the list of its files" if md5.endswith(FOLDER) else "its bytes"
        yield Finding("data", path, "changed", f"{what} in {cache.path(md5)}")
        return
    if not md5.endswith(FOLDER):
        yield Finding("data", path, "matches", f"md5 {md5[:12]}")
        return
    files = cache.listing(md5) or {}
    is_good = True
    for name, entry in files.items():
        if not cache.has(entry):
            is_good = False
            yield Finding("data", f"{path}/{name}", "gone", f"md5 {entry} is not in DVC's cache; {do}")
        elif not cache.is_whole(entry):
            is_good = False
            yield Finding("data", f"{path}/{name}", "changed", f"its bytes in {cache.path(entry)}")
    if is_good:
        yield Finding("data", path, "matches", f"md5 {md5[:12]}, {len(files)} files")


def _copied(listing: Mapping[str, str] | None, folder: Path, part: str, path: str) -> Iterator[Finding]:
    """A folder of the version has the files of an output."""
    what = f"{part} is {path}"
    if listing is None:
        yield Finding("copy", what, "gone", f"the list of the files of {path} is not in DVC's cache")
        return
    files = {name: file_md5(folder / name) for name in listing if (folder / name).is_file()}
    wrong = [name for name in listing if files.get(name) != listing[name]]
    for name in wrong:
        yield _broken("copy", f"{part}/{name} is {path}/{name}", files.get(name), listing[name])
    if not wrong:
        yield Finding("copy", what, "matches", f"{len(listing)} files")


def _git(record: Record, paths: Paths, folder: Path) -> Iterator[Finding]:
    """The commit, and what the version took from it: the templates and the package."""
    commit = record.git.commit
    if _show(paths, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        yield Finding("git", commit, "gone", "no such commit here; fetch it: `git fetch --all --tags`")
        return
    if record.git.dirty:
        changed = ", ".join(record.git.changed) or "of which nothing was written down"
        yield Finding("git", commit, "unknown", f"is here, but the tree differed from it: {changed}")
    else:
        yield Finding("git", commit, "matches")
    if TEMPLATES in record.git.changed:
        yield Finding("template", TEMPLATES, "unknown", "differed from the commit; the version holds it as it was")
    elif expected := record.files.get(TEMPLATES):
        text = _show(paths, "show", f"{commit}:./{TEMPLATES}")
        yield _compared("template", TEMPLATES, None if text is None else hashlib.sha256(text).hexdigest(), expected)
    yield from _package(record, paths, folder)


def _package(record: Record, paths: Paths, folder: Path) -> Iterator[Finding]:
    """The code in the version is that of the commit, but for the files that had been changed."""
    tree = _show(paths, "ls-tree", "-r", "-z", record.git.commit, "--", "llarp") or b""
    blobs = {}
    for line in filter(None, tree.decode(errors="replace").split("\0")):
        about, _, name = line.partition("\t")
        blobs[name] = about.split()[2]
    names = [name.removeprefix(_CODE) for name in record.model.files if name.startswith(f"{_CODE}llarp/")]
    wrong = [
        name
        for name in names
        if name not in record.git.changed and _blob(folder / _CODE / name, blobs.get(name, "")) != blobs.get(name)
    ]
    for name in wrong:
        yield Finding("code", _CODE + name, "changed", f"is not that of commit {record.git.commit[:12]}")
    if names and not wrong:
        same = len(names) - len({*names} & {*record.git.changed})
        yield Finding("code", _CODE + "llarp", "matches", f"{same} of {len(names)} files are those of the commit")


def _blob(path: Path, like: str) -> str | None:
    """Git's name of a file's bytes, with the algorithm that `like` was made with; None when there is no file."""
    if not path.is_file():
        return None
    text = path.read_bytes()
    return hashlib.new("sha256" if len(like) == 64 else "sha1", b"blob %d\0" % len(text) + text).hexdigest()


def _weights(record: Record) -> Iterator[Finding]:
    """The frozen weights that are no part of the version."""
    name = str(record.backbone.get("name"))
    found, expected = backbone_sha256(record.backbone), record.backbone.get("sha256")
    yield _compared("backbone", name, found, expected, "not on this machine: install or fetch it")
    expected, source = record.encoder["sha256"], record.encoder["source"]
    if expected in ("", "none"):
        yield Finding("encoder", source, "matches", "its weights are data/encoder alone")
        return
    found = encoder_sha256(record.encoder, record.params)
    yield _compared("encoder", source, found, expected, "not on this machine; data/encoder holds what was made of it")


def _runs(record: Record) -> Iterator[Finding]:
    """The runs of all stages."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client, gone = MlflowClient(), []
    for stage, run_id in record.runs.items():
        try:
            if client.get_run(run_id).info.lifecycle_stage != "active":
                gone.append(Finding("run", f"{stage} {run_id}", "gone", f"deleted: `mlflow runs restore -r {run_id}`"))
        except MlflowException as error:
            gone.append(Finding("run", f"{stage} {run_id}", "gone", error.message.splitlines()[0]))
    yield from gone or [Finding("runs", ", ".join(record.runs), "matches", f"{len(record.runs)} runs are in MLflow")]


def _compared(what: str, where: str, found: str | None, expected: str | None, gone: str = "") -> Finding:
    if expected is None:
        return Finding(what, where, "unknown", "no hash was recorded")
    if found == expected:
        return Finding(what, where, "matches", f"sha256 {expected[:12]}")
    return Finding(what, where, "gone", gone) if found is None else _broken(what, where, found, expected)


def _broken(what: str, where: str, found: str | None, expected: str | None) -> Finding:
    if found is None:
        return Finding(what, where, "gone")
    if expected is None:
        return Finding(what, where, "changed", "was not there")
    return Finding(what, where, "changed", f"is {found[:12]}, was {expected[:12]}")


def _show(paths: Paths, *arguments: str) -> bytes | None:
    """What a git command prints; None when it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=paths.root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def is_proved(findings: Iterable[Finding]) -> bool:
    """Whether nothing is changed or gone."""
    return not any(finding.is_bad for finding in findings)
