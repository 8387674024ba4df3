"""From a hash to the versions that were made from it: the other way round than `lineage_record`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components import lineage_record, model_files
from components.dvc_cache import FOLDER, Cache
from components.evidence import EVALUATION
from components.paths import Paths
from llarp.errors import UserError
from llarp.files import sha256

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_HASH = re.compile(r"[0-9a-f]{32,64}(\.dir)?")
_PREFIX = re.compile(r"[0-9a-f]{6,64}(\.dir)?")
_PAGE = 1000


@dataclass(frozen=True)
class Use:
    """A version that has something to do with a hash."""

    name: str
    version: int
    aliases: tuple[str, ...]
    how: tuple[str, ...]
    """What the hash is to it: names of tags, files of outputs, parts of the record."""


def who_used(what: str, paths: Paths) -> list[Use]:
    """Versions made from something, newest first.

    The tags of all versions are searched in one query. Only when they tell nothing are the lists of files in DVC's
    cache looked through, and then the record of every version.

    Args:
        what: at least 6 digits of an md5 of DVC, a sha256, a git commit or the id of a run; or a path of the project.
        paths: of the project.

    Raises:
        UserError: `what` is neither a path nor a hash.

    """
    wanted = tuple(_wanted(what, paths))
    versions, aliases = _versions(), _aliases()
    found = {_key(version): how for version in versions if (how := _in_tags(version, wanted))}
    if not found:
        found = _in_folders(versions, wanted, paths)
    if not found:
        found = {_key(version): how for version in versions if (how := _in_record(version, wanted))}
    uses = [Use(*key, aliases.get(key, ()), tuple(dict.fromkeys(how))) for key, how in found.items()]
    return sorted(uses, key=lambda use: (use.name, -use.version))


def _wanted(what: str, paths: Paths) -> Iterator[str]:
    """Beginnings of hashes, without `.dir`."""
    path = paths.root / what
    if path.exists():
        if path.is_file():
            yield sha256(path)
        with Cache.of(paths.root) as cache:
            yield cache.md5_of(path).removesuffix(FOLDER)
    elif _PREFIX.fullmatch(what.lower()):
        yield what.lower().removesuffix(FOLDER)
    else:
        raise UserError("is neither a path here nor 6 to 64 digits of a hash", what, "see `llarp lineage show`")


def _versions() -> "list[ModelVersion]":
    from mlflow import MlflowClient

    client, token = MlflowClient(), None
    found: list[ModelVersion] = []
    with model_files.told("model versions"):
        while True:
            page = client.search_model_versions(max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _aliases() -> dict[tuple[str, int], tuple[str, ...]]:
    from mlflow import MlflowClient

    found: dict[tuple[str, int], tuple[str, ...]] = {}
    with model_files.told("registered models"):
        for model in MlflowClient().search_registered_models(max_results=_PAGE):
            for alias, number in sorted(model.aliases.items()):
                key = (model.name, int(number))
                found[key] = (*found.get(key, ()), alias)
    return found


def _key(version: "ModelVersion") -> tuple[str, int]:
    return version.name, int(version.version)


def _in_tags(version: "ModelVersion", wanted: tuple[str, ...]) -> list[str]:
    pairs = [(key, value) for key, value in version.tags.items() if _HASH.fullmatch(value)]
    pairs += [
        ("evaluated episodes", key.removeprefix(EVALUATION)) for key in version.tags if key.startswith(EVALUATION)
    ]
    return _named([*pairs, ("run.register", version.run_id or "")], wanted)


def _in_folders(
    versions: "Iterable[ModelVersion]", wanted: tuple[str, ...], paths: Paths
) -> dict[tuple[str, int], list[str]]:
    """Files of outputs that are folders, as far as DVC's cache has their lists; each list is read once."""
    found: dict[tuple[str, int], list[str]] = {}
    known: dict[str, Mapping[str, str]] = {}
    try:
        with Cache.of(paths.root) as cache:
            for version in versions:
                for tag, md5 in version.tags.items():
                    if not (tag.startswith("dvc.") and md5.endswith(FOLDER)):
                        continue
                    if md5 not in known:
                        known[md5] = cache.listing(md5) or {}
                    names = _named(known[md5].items(), wanted)
                    if names:
                        found.setdefault(_key(version), []).extend(f"{tag}/{name}" for name in names)
    except UserError:  # no project here: what the registry has must do
        return {}
    return found


def _in_record(version: "ModelVersion", wanted: tuple[str, ...]) -> list[str]:
    try:
        return _named(lineage_record.read(version).hashes(), wanted)
    except UserError:  # none, or none that can be trusted
        return []


def _named(pairs: Iterable[tuple[str, str]], wanted: tuple[str, ...]) -> list[str]:
    """Names of what begins with one of the hashes."""
    return [name for name, value in pairs if value.startswith(wanted)]
