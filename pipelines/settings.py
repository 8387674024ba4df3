"""params.yaml changed from the command line: presets and single keys, checked before anything is written."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from components.paths import Paths
from llarp.config import Params, Section, validate
from llarp.errors import UserError
from llarp.files import file_aside
from llarp.launch import check_machines
from llarp.tasks.data.capacity import refuse_too_many
from llarp.tasks.released.release import release_files

PRESETS = "presets"


@dataclass(frozen=True)
class Change:
    """One parameter that gets another value."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def inputs(params: Params) -> list[str]:
    """Files and folders that the stages read, relative to the project, and that git need not have."""
    return [name for name in (params.episodes.extra, params.release.source) if name]


def change(
    root: Path,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Params, list[Change]]:
    """Lays a preset and then single keys over params.yaml and writes the result if it differs.

    Args:
        root: the project's folder.
        preset: name of a file in presets/; None: none.
        assignments: as `train.epochs=3`.
        overrides: dotted keys to values, laid over last.

    Returns:
        The parameters, and what has changed.

    Raises:
        UserError: no such preset, key or release, a value out of range, or machines that cannot meet; nothing is
            written.

    """
    path = Paths(root).params
    document, before = _changed(root, preset, assignments, overrides)
    params = validate(_plain(document), path)
    if params.release.source is not None:
        release_files([root / params.release.source])  # before DVC makes room for a new import
    refuse_too_many(params.episodes)
    check_machines(params.train)
    if not (root / params.episodes.extra).is_dir():
        raise UserError("is no folder", f"episodes.extra={params.episodes.extra}", "make it; it may be empty")
    changes = [Change(key, before.get(key), value) for key, value in _leaves(document) if before.get(key) != value]
    if changes:
        _write(path, document)
    return params, changes


def changed(
    root: Path,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Params:
    """What `change` would make of params.yaml; UserError for a key or value that cannot be. Writes nothing."""
    document, _ = _changed(root, preset, assignments, overrides)
    return validate(_plain(document), Paths(root).params)


def _changed(
    root: Path, preset: str | None, assignments: Sequence[str], overrides: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The document with everything laid over it, and what its keys were before."""
    document = _load(Paths(root).params)
    before = dict(_leaves(document))
    if preset is not None:
        for key, value in _leaves(_load(_preset(root, preset))):
            _assign(document, key, value, f"preset {preset}")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError("has no value", f"--set {assignment}", "write --set key=value")
        _assign(document, key.strip(), _value(text, assignment), f"--set {assignment}")
    for key, value in overrides.items():
        _assign(document, key, value, "overrides")
    return document, before


def describe() -> Iterator[tuple[str, str, str]]:
    """(key, range, description) of every parameter."""
    for name, entry in Params.model_fields.items():
        section, kind = entry.alias or name, entry.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for key, field in kind.model_fields.items():
                yield f"{section}.{key}", _range(field.annotation, field.metadata), field.description or ""
        else:
            yield section, _range(kind, entry.metadata), entry.description or ""


def values(params: Params) -> dict[str, Any]:
    """Every parameter under its dotted key."""
    return dict(_leaves(params.model_dump(by_alias=True)))


def _range(kind: Any, limits: Sequence[Any]) -> str:
    words = [getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind).replace("typing.", "")]
    for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt"), ("matches", "pattern")):
        words += [f"{sign} {getattr(limit, name)}" for limit in limits if getattr(limit, name, None) is not None]
    return ", ".join(words)


def _preset(root: Path, name: str) -> Path:
    known = sorted(path.stem for path in (root / PRESETS).glob("*.yaml"))
    if name not in known:
        raise UserError(f"no preset is called {name!r}", root / PRESETS, f"choose one of: {', '.join(known)}")
    return root / PRESETS / f"{name}.yaml"


def _assign(document: Any, key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    place = document
    for section in sections:
        place = place.get(section) if isinstance(place, Mapping) else None
    is_section = not sections and isinstance(place, Mapping) and isinstance(place.get(last), Mapping)
    if not isinstance(place, Mapping) or last not in place or is_section:
        close = difflib.get_close_matches(key, [known for known, _ in _leaves(document)], 1)
        hint = f"did you mean {close[0]}?" if close else "see `llarp params` for all keys"
        raise UserError(f"no parameter is called {key!r}", where, hint)
    place[last] = value  # type: ignore[index]


def _leaves(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every parameter under its dotted key; a mapping within a section is one parameter's value."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", entry) for key, entry in value.items())
        else:
            yield name, value


def _plain(document: Any) -> Any:
    return {key: _plain(value) for key, value in document.items()} if isinstance(document, Mapping) else document


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()  # keeps comments and layout
    yaml.width = 120
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _load(path: Path) -> Any:
    from ruamel.yaml import YAMLError

    try:
        document = _yaml().load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "run in the project's folder") from error
    except YAMLError as error:
        raise UserError(f"is no YAML: {error}", path, "mend the line named") from error
    if not isinstance(document, Mapping):
        raise UserError("holds no parameters", path, "restore it from git")
    return document


def _value(text: str, assignment: str) -> Any:
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        raise UserError("its value is no YAML", f"--set {assignment}", "quote it") from None


def _write(path: Path, document: Any) -> None:
    with file_aside(path) as aside, aside.open("w") as file:
        _yaml().dump(document, file)
