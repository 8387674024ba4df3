"""Imports the benchmark's released episodes (apple/ml-llarp, folder datasets/) as ours.

Deviations: an object's height is that of its receptacle's surface and of its orientation only the heading is kept,
because our bodies stand upright by themselves. Plans, demonstrations and subgoals are left empty (`expert.prove`).
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llarp.errors import UserError
from llarp.scenes.catalog import CATEGORIES, HANDLES, RECEPTACLES, category_of_asset, receptacle
from llarp.scenes.furniture import FURNITURE
from llarp.scenes.layouts import LAYOUTS_VARIABLE, released
from llarp.scenes.variants import training_variants
from llarp.tasks.episode import Episode, ObjectInstance, resting
from llarp.tasks.goals import Goal, Predicate
from llarp.tasks.released.unpickle import load

SPLIT_OF_FILE: dict[str, str] = {
    "train": "train",
    "train_validation": "train_validation",
    "new_scenes": "new_scenes",
    "rephrasing": "rephrasing",
    "instruction_rephrasing": "rephrasing",
    "referring_expressions": "referring",
    "spatial_relationships": "spatial",
    "context": "context",
    "irrelevant_text": "irrelevant_text",
    "irrelevant_instruction_text": "irrelevant_text",
    "novel_objects": "novel_objects",
    "conditional_instructions": "conditional",
    "multiple_objects": "multiple_rearrangements",
    "multiple_rearrangements": "multiple_objects",
}
"""File name without `.pickle` -> our split. The release has the last two the other way round. A name may go on."""

_ENTITIES = {entry.release: entry.id for entry in RECEPTACLES} | {entry.release: entry.id for entry in HANDLES}
_CATEGORIES = {entry.release: entry.id for entry in CATEGORIES}
_FAMILY_OF_SPLIT = {"multiple_objects", "multiple_rearrangements", "conditional"}


class _UnknownError(Exception):
    """A word of the release that the catalogue lacks, or a part of an episode of the wrong form."""


def read(paths: Sequence[Path], any_scene: bool = False) -> list[Episode]:
    """Every episode of the released files named, or in the folders named, in order of file name.

    Args:
        paths: files and folders.
        any_scene: whether to accept episodes in scenes that have no layout yet.

    Raises:
        UserError: a path is missing, no released file, damaged, or says something that the catalogue does not know.

    """
    return [episode for path in release_files(paths) for episode in _read_file(path, any_scene)]


def release_files(paths: Sequence[Path]) -> list[Path]:
    """The released pickles among files and folders; UserError for a name that is no split's."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError("no such file or folder", path, "name the released pickles, or a folder of them")
        inside = sorted(path.glob("*.pickle")) if path.is_dir() else [path]
        if not inside:
            raise UserError("holds no .pickle file", path, "name the folder of the released files")
        found += inside
    for path in found:
        if _split_of(path.stem) is None or path.suffix != ".pickle":
            raise UserError(
                "is not the name of a released split",
                path,
                f"known, also with more behind: {', '.join(SPLIT_OF_FILE)} (.pickle)",
            )
    return found


def _split_of(stem: str) -> str | None:
    """The split of a file's name, which may go on as in `context_2`; None when it begins with no known name."""
    known = [name for name in SPLIT_OF_FILE if re.match(rf"{name}(?![a-z])", stem)]
    return SPLIT_OF_FILE[max(known, key=len)] if known else None


def raw_episodes(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each episode of one file with its number and its names and 4x4 transforms looked up.

    Yields `rigid` [(object name, transform float[4, 4] of the y-up release)] and `lies` {object name: receptacle's
    release handle} beside the release's own keys.
    """
    data = load(path)
    number: int | None = None
    try:
        transforms, names = data["all_transforms"], data["idx_to_name"]
        if transforms.ndim != 3 or transforms.shape[1:] != (4, 4):
            raise _UnknownError(f"all_transforms has shape {transforms.shape}")
        for number, episode in enumerate(data["all_eps"]):
            seen: Counter[str] = Counter()
            rigid = []
            for name, transform in episode["rigid_objs"]:
                asset = names[int(name)].removesuffix(".object_config.json")
                rigid.append((f"{asset}_:{seen[asset]:04d}", transforms[int(transform)]))
                seen[asset] += 1
            lies = {names[int(name)]: names[int(place)] for name, place in episode["name_to_receptacle"]}
            if set(lies) != {name for name, _ in rigid}:
                raise _UnknownError("rigid_objs and name_to_receptacle list different objects")
            yield number, {**episode, "rigid": rigid, "lies": lies}
    except _UnknownError as error:
        raise _bad(path, number, str(error)) from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _bad(path, number, f"{type(error).__name__} {error}") from None


def _bad(path: Path, number: int | None, what: str) -> UserError:
    where = path if number is None else f"{path}, episode {number}"
    return UserError(f"is not as released: {what}", where, "use the files of the public release")


def _read_file(path: Path, any_scene: bool) -> Iterator[Episode]:
    split = _split_of(path.stem)
    assert split is not None, "release_files lets no other name pass"
    name = split if path.stem in SPLIT_OF_FILE else path.stem
    for number, raw in raw_episodes(path):
        try:
            episode = _episode(split, f"release-{name}-{number:06d}", number, raw)
            if not any_scene and episode.layout not in released():
                raise UserError(
                    f"unknown scene {episode.layout!r}",
                    f"{path}, episode {number}",
                    f"fit it: `llarp simulator fit {path} --all --out FILE`, then set {LAYOUTS_VARIABLE}=FILE",
                )
        except _UnknownError as error:
            raise _bad(path, number, str(error)) from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _bad(path, number, f"{type(error).__name__} {error}") from None
        yield episode


def _episode(split: str, id: str, number: int, raw: dict[str, Any]) -> Episode:
    layout = Path(raw["scene_id"]).name.removesuffix(".scene_instance.json")
    instruction = raw["instruction"]
    if not isinstance(instruction, str) or not instruction.strip():
        raise _UnknownError("no instruction")
    goal = _goal(raw["goal_preds"])
    return Episode(
        episode_id=id,
        split=split,
        family=_family(split, raw["sampled_entities"], instruction, goal),
        template=f"release:{raw['instruct_id']}",
        instruction=instruction,
        layout=layout,
        objects=tuple(_object(split, number, name, at, raw["lies"][name]) for name, at in raw["rigid"]),
        start=tuple(_predicate(text) for text in raw["start_preds"]),
        goal=goal,
        subgoals=(),
        plan=(),
        demonstration=(),
        recorded=tuple(tuple(_predicate(text) for text in step) for step in raw["subgoals"]),
    )


def our_name(name: str) -> str:
    """`013_apple_:0001` of the release as `013_apple:1`."""
    asset, instance = name.split("_:")
    return f"{asset}:{int(instance)}"


def _object(split: str, number: int, name: str, transform: Any, place: str) -> ObjectInstance:
    ours = our_name(name)
    asset = ours.split(":")[0]
    try:
        category = category_of_asset(asset)
    except KeyError:
        raise _UnknownError(f"unknown object {asset!r}") from None
    id = receptacle(_entity(place)).id
    # The release is y-up: x = x, y = -z, z = y. A body's own x axis, seen from above, is its heading.
    heading = math.atan2(-float(transform[2, 0]), float(transform[0, 0]))
    numbers = (float(transform[0, 3]), -float(transform[2, 3]), heading)
    if not all(map(math.isfinite, numbers)):
        raise _UnknownError(f"{name} is nowhere")
    variants = training_variants()
    position, quaternion = resting(*numbers[:2], FURNITURE[id].rest, heading)
    return ObjectInstance(
        name=ours,
        category=category,
        asset=asset,
        variant=variants[zlib.crc32(f"{split} {number} {ours}".encode()) % len(variants)],
        receptacle=id,
        position=position,
        quaternion=quaternion,
    )


def _entity(text: str) -> str:
    try:
        return _ENTITIES[text]
    except KeyError:
        raise _UnknownError(f"unknown receptacle or handle {text!r}") from None


def _category(text: str) -> str:
    try:
        return _CATEGORIES[text]
    except KeyError:
        raise _UnknownError(f"unknown category {text!r}") from None


def _predicate(text: str, variables: frozenset[str] = frozenset()) -> Predicate:
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match is None:
        raise _UnknownError(f"no predicate: {text!r}")
    args = [arg.strip() for arg in match[2].split(",") if arg.strip()]
    return Predicate(match[1], tuple(_argument(arg, variables) for arg in args))


def _argument(text: str, variables: frozenset[str]) -> str:
    if text in variables:
        return text
    return our_name(text) if re.search(r"_:\d+$", text) else _entity(text)


def _goal(tree: dict[str, Any], outer: frozenset[str] = frozenset()) -> Goal:
    """The release's expression tree as ours; UserError's reason when it says what we do not know."""
    variables = tuple((entry["name"], _category(entry["expr_type"])) for entry in tree.get("inputs") or ())
    inner = outer | {name for name, _ in variables}
    terms = tuple(_predicate(t, inner) if isinstance(t, str) else _goal(t, inner) for t in tree["sub_exprs"])
    operator, quantifier = tree["expr_type"], tree.get("quantifier")
    if operator not in ("AND", "OR", "NAND") or quantifier not in ("EXISTS", "FORALL", None):
        raise _UnknownError(f"unknown expression {quantifier} {operator}")
    return Goal(operator, terms, quantifier if variables else None, variables)


def _family(split: str, entities: dict[str, str], instruction: str, goal: Goal) -> str:
    """The kind of task, from what the release sampled for it; the split's name when that tells nothing."""
    if split in _FAMILY_OF_SPLIT:
        return split
    atoms = {term.name for term in goal.terms if isinstance(term, Predicate)}
    keys = set(entities)
    if keys == {"object1", "object2", "source_recep_1", "source_recep_2", "targ_recep"}:
        return "two_to"
    if keys == {"object1", "object2", "receptacle1", "receptacle2"}:
        return "swap"
    if keys == {"source_receptacle_name", "target_receptacle_name", "target_object_name"}:
        words = receptacle(_entity(entities["source_receptacle_name"])).words
        return "move_from_to" if words.lower() in instruction.lower() else "move_to"
    if any(isinstance(term, Goal) and term.operator == "NAND" for term in goal.terms):
        return "take_off"
    by_atom = {"opened_fridge": "open_fridge", "closed_fridge": "close_fridge", "robot_at": "go_to"}
    single = [by_atom[name] for name in atoms if name in by_atom]
    if len(atoms) == 1 and single:
        return "find" if single == ["go_to"] and goal.variables else single[0]
    return "find" if atoms & {"holding", "robot_at_obj"} else split
