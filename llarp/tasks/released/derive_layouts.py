"""Derives layouts from released episodes: `llarp simulator fit PATH... --out FILE`.

What the release says: where objects lie on the seven open receptacles (`fit_places`), and after each step of a solver's
plan what the robot was near (`fit_poses`). The result is a reconstruction: sizes of bodies, fridge, drawers and chair
are ours.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llarp.errors import UserError
from llarp.files import file_aside, sha256
from llarp.scenes.furniture import FREESTANDING
from llarp.scenes.layouts import family
from llarp.tasks.episode import Episode
from llarp.tasks.released.fit_places import fit_places, gather
from llarp.tasks.released.fit_poses import fit_poses
from llarp.tasks.released.release import read, release_files
from llarp.tasks.released.visits import visits

FITTED_SPLITS = frozenset({"multiple_objects", "new_scenes", "rephrasing", "train_validation"})
"""Splits that the layouts llarp ships were fitted to: no fit of ours sees the others, which say how well it carries."""
HELD_OUT_FIFTH = "train_validation"
"""One of them of which no fit of ours sees every fifth episode."""


def held_out(episode: Episode) -> bool:
    """Whether an episode is kept from the fit of the layouts that llarp ships."""
    number = int(episode.episode_id.rsplit("-", 1)[1])
    return episode.split not in FITTED_SPLITS or (episode.split == HELD_OUT_FIFTH and number % 5 == 0)


def derive(episodes: Iterable[Episode]) -> dict[str, dict[str, Any]]:
    """Layout name -> its places (x, y, yaw), stands and points (x, y), metres and radians to three decimals.

    Raises:
        UserError: in some scene nothing lies on a receptacle.

    """
    episodes = list(episodes)
    seen = list(visits(episodes))
    scenes = gather(episodes, seen)
    rooms = fit_poses(fit_places(scenes, {name: family(name) for name in scenes}), seen)
    return {name: _numbers(rooms[name]) for name in sorted(rooms)}


def _numbers(room: Any) -> dict[str, Any]:
    stands, points = room.fitted()
    sections = {"places": {id: room.places[id] for id in FREESTANDING}, "stands": stands, "points": points}
    return {
        section: {id: [round(float(value), 3) for value in numbers] for id, numbers in entries.items()}
        for section, entries in sections.items()
    }


def write(paths: Sequence[Path], out: Path, everything: bool = False) -> int:
    """Fits the scenes of released files and writes them as JSON; returns the number of layouts.

    Args:
        paths: released pickles, or folders of them.
        out: appears whole or not at all.
        everything: whether episodes that are otherwise held out are used as well.

    Raises:
        UserError: a file is no released one, or a scene has too few episodes.

    """
    episodes = [entry for entry in read(paths, any_scene=True) if everything or not held_out(entry)]
    if not episodes:
        raise UserError("all episodes named are held out from fits", ", ".join(map(str, paths)), "add --all")
    layouts = derive(episodes)
    about = (
        "Fitted to released episodes by `llarp simulator fit`: places (x, y, yaw of the front), where the robot stands "
        "and where robot_at is measured (x, y); metres and radians, z up. "
    )
    kept = "conditional_instructions, novel_objects and every fifth episode (number % 5 == 0) of train_validation"
    about += "Used: all episodes." if everything else f"Used: all episodes but {kept}, which are held out."
    head = {"about": about, "sources": {path.name: sha256(path) for path in release_files(paths)}}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in layouts.items())
    with file_aside(out) as path:
        path.write_text(json.dumps(head, indent=2)[:-2] + ',\n  "layouts": {\n' + lines + "\n  }\n}\n")
    return len(layouts)
