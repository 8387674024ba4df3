"""Episodes that somebody brings, to be added to training: each is checked like a generated one before it gets in."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from llarp.errors import UserError
from llarp.scenes.catalog import category, receptacle
from llarp.tasks.data.columns import content
from llarp.tasks.data.leaks import asked
from llarp.tasks.data.store import Episodes
from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.goals import satisfied
from llarp.tasks.skills import Skill
from llarp.tasks.world import World


def additions(folder: Path, seen: set[bytes], world: World) -> Iterator[Episode]:
    """New training episodes of all Parquet files in a folder, by name of file; named after their content.

    Args:
        folder: may hold no such file.
        seen: contents of the episodes that are there already; those added are put into it, and one that is in it is
            left out.
        world: where their demonstrations are replayed.

    Raises:
        UserError: the folder is missing, a file is no episode file, or an episode is of another split than `train`,
            stands in an unknown layout or is not solved by its plan or demonstration.

    """
    if not folder.is_dir():
        raise UserError("is no folder", folder, "name a folder in episodes.extra; it may be empty")
    for path in sorted(folder.glob("*.parquet")):
        for episode in Episodes.open(path):
            digest = content(episode)
            if digest not in seen:
                if problem := _problem(episode, world):
                    raise UserError(problem, f"{path}, episode {episode.episode_id}", "mend it or take it out")
                seen.add(digest)
                yield replace(episode, episode_id=f"extra-{digest.hex()}")


def _problem(episode: Episode, world: World) -> str | None:
    """Why an episode cannot be one of training, in words; None when it can."""
    if episode.split != "train":
        return f"is of split {episode.split}, and only `train` is added to"
    if not episode.instruction.strip():
        return "has no instruction"
    try:
        for kind in {*asked(episode.goal), *(entry.category for entry in episode.objects)}:
            category(kind)
        for place in {entry.receptacle for entry in episode.objects}:
            receptacle(place)
        for name, skills in (("plan", episode.plan), ("demonstration", episode.demonstration)):
            if (what := _fails(episode, skills, world)) is not None:
                return f"its {name} {what}"
    except UserError as error:  # no such layout
        return str(error)
    except KeyError as error:
        return f"names {error}, which there is not"
    return None


def _fails(episode: Episode, skills: tuple[Skill, ...], world: World) -> str | None:
    """What is wrong with a way to the goal, in words; None when it holds at the last step and not before."""
    if not 0 < len(skills) <= HORIZON:
        return f"has {len(skills)} steps, not 1 to {HORIZON}"
    world.reset(episode)
    for number, skill in enumerate(skills):
        if satisfied(episode.goal, world):
            return f"has reached the goal after {number} steps already"
        if not world.apply(skill):
            return f"takes {skill}, which is invalid after {number} steps"
    return None if satisfied(episode.goal, world) else "does not reach the goal"
