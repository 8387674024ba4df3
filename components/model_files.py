"""The files of a registered version: listed by digest, fetched into a folder of our own, and refused when they differ.

    folder = fetch("models:/llarp@champion")

What is checked is what is loaded: the files are copied or downloaded into a private folder first, checked there, and
loaded from there; nobody else writes in it. Two kinds of files are neither copied nor covered by the digest:
`registered_model_meta`, in which MLflow notes name and version whenever it loads a version by its name, and
`__pycache__`, which Python writes beside code that it imports. MLmodel is covered: MLflow leaves it alone once a
version is registered, on local files and on a server alike, and it decides which code runs on which paths.
"""

import atexit
import hashlib
import json
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llarp.errors import UserError
from llarp.files import sha256

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_SHA256 = "model.sha256"
"""Tag of a version: the digest of its files."""
MODEL_BYTES = "model.bytes"
LINEAGE_SHA256 = "lineage.sha256"
"""Tag of a version: sha256 of RECORD in the run that registered it."""
RECORD = "lineage.json"

LEFT_OUT = ("registered_model_meta", "__pycache__")
PICKLES = frozenset(
    (".pkl", ".pickle", ".cloudpickle", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".pyc", ".npy", ".npz")
)
"""Endings of what is, or may hold, a pickle or unreadable code; no version has any."""
AGAIN = "register it again: dvc repro --force --single-item register"

_URI = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))")
_LOADER = "mlflow.pyfunc.loaders.code_model"
"""The one loader that reads code and no pickle."""


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below a folder.

    Raises:
        UserError: something there is a link, no file, or a pickle by its name.

    """
    found = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise UserError("is a link, and may lead anywhere", name, "a version holds files only")
        if not stat.S_ISREG(mode):
            raise UserError("is neither file nor folder", name, "a version holds files only")
        if path.suffix.lower() in PICKLES:
            raise UserError("may be a pickle, which runs code when it is read", name, "a version holds none")
        found[name] = sha256(path)
    return dict(sorted(found.items()))


def digest(files: Path | Mapping[str, str]) -> str:
    """sha256 over the listing of a folder, or over one that `digests` gave."""
    listing = digests(files) if isinstance(files, Path) else files
    return hashlib.sha256(json.dumps(dict(listing), sort_keys=True).encode()).hexdigest()


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.lstat().st_size for path in _walk(folder))


def find(uri: str) -> "ModelVersion":
    """The version that `models:/NAME/NUMBER` or `models:/NAME@ALIAS` names; UserError when there is none."""
    from mlflow import MlflowClient

    match = _URI.fullmatch(uri)
    if match is None:
        raise UserError("names no version", uri, "write models:/llarp/7 or models:/llarp@champion")
    name, number, alias = match.groups()
    with told(uri):
        client = MlflowClient()
        return client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, alias)


def uri_of(version: "ModelVersion") -> str:
    """`models:/NAME/NUMBER`."""
    return f"models:/{version.name}/{version.version}"


def fetch(uri: str) -> Path:
    """A private folder with the files of a version, proved to be those that were registered.

    It stays until this process ends.

    Raises:
        UserError: there is no such version, it was registered without a digest, its files are others than then, or
            one of them is a link, a pickle or a way out of the folder.

    """
    version = find(uri)
    recorded = version.tags.get(MODEL_SHA256)
    if recorded is None:
        raise UserError("was registered before hashes of its files were recorded", uri_of(version), AGAIN)
    folder = copy(version)
    try:
        files = digests(folder)
        if digest(files) != recorded:
            wrong = ", ".join(_differences(files, _listed(version))) or "its files"
            raise UserError(f"{wrong}: not what was registered (tag {MODEL_SHA256})", uri_of(version), AGAIN)
        check_paths(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def copy(version: "ModelVersion") -> Path:
    """A private copy of a version's files, nothing checked; see `copy_from`."""
    from mlflow import MlflowClient

    with told(uri_of(version)):
        location = MlflowClient().get_model_version_download_uri(version.name, version.version)
    return copy_from(location, uri_of(version))


def copy_from(location: str, where: str) -> Path:
    """A private copy of a model's files, nothing checked; it stays until this process ends.

    Links are copied as links, and never followed.

    Args:
        location: in MLflow's artifact store.
        where: what it is called in errors.

    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    private = Path(tempfile.mkdtemp(prefix="llarp-model-"))  # for this user alone
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    folder = private / "model"
    with told(where):
        source = get_artifact_repository(location)
        if isinstance(source, LocalArtifactRepository):
            try:
                shutil.copytree(
                    source.artifact_dir, folder, symlinks=True, ignore=lambda _, names: {*names} & {*LEFT_OUT}
                )
            except (OSError, shutil.Error) as error:
                raise UserError(f"its files cannot be read: {error}", where, AGAIN) from error
        else:
            folder.mkdir()
            source.download_artifacts("", str(folder))  # MLflow refuses names that lead out of it
            for name in LEFT_OUT:
                for path in [*folder.rglob(name)]:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def check_paths(folder: Path) -> None:
    """UserError when MLmodel asks for another loader than the one for code, or names a path outside its folder."""
    import yaml

    where = folder / "MLmodel"
    try:
        described = yaml.safe_load(where.read_text())
        flavor: dict[str, Any] = described["flavors"]["python_function"]
        paths = [entry["path"] for entry in flavor.get("artifacts", {}).values()]
        paths += [flavor[key] for key in ("code", "data") if flavor.get(key)]
        if example := described.get("saved_input_example_info"):
            paths.append(example["artifact_path"])
        loader = flavor["loader_module"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"does not describe a model of ours ({type(error).__name__})", "MLmodel", AGAIN) from None
    if loader != _LOADER or "python_model" in flavor:
        raise UserError(f"is loaded by {loader}, not as code", "MLmodel", AGAIN)
    for path in paths:
        if not (folder / str(path)).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"names {path}, which is outside the version's folder", "MLmodel", AGAIN)


def read_artifact(run_id: str | None, name: str) -> bytes | None:
    """The bytes of one artifact in the root of a run; None when the run or the artifact is gone."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download_artifacts(run_id=run_id, artifact_path=name, dst_path=folder)
            return Path(path).read_bytes()
        except (MlflowException, OSError):
            return None


@contextmanager
def told(where: str) -> "Iterator[None]":
    """MLflow's errors as those of a user."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"no such model: {error.message}", where, "register one with `llarp run`") from error
        raise UserError(f"MLflow does not give it: {error.message}", where, "see whether its server runs") from error


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder but folders and what is left out; links are not followed."""
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _listed(version: "ModelVersion") -> dict[str, str] | None:
    """The files that the version's record lists; None when it cannot be trusted."""
    text = read_artifact(version.run_id, RECORD)
    if text is None or hashlib.sha256(text).hexdigest() != version.tags.get(LINEAGE_SHA256):
        return None
    return json.loads(text)["model"]["files"]


def _differences(files: Mapping[str, str], listed: Mapping[str, str] | None) -> list[str]:
    """Names of the files that differ, are missing or were added."""
    if listed is None:
        return []
    return [name for name in sorted({*files, *listed}) if files.get(name) != listed.get(name)]
