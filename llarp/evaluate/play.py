"""Shows a policy at work on one instruction: a line per step, and a GIF."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from llarp.errors import UserError
from llarp.evaluate.film import Film, Shot, write_gif
from llarp.policy.base import Policy
from llarp.scenes.catalog import CATEGORIES
from llarp.sim.base import Simulator
from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.goals import satisfied
from llarp.tasks.skills import SKILLS, words
from llarp.vision.views import ViewFeatures


def mentioned(instruction: str) -> tuple[str, ...]:
    """Categories that an instruction calls by name, in singular or plural."""
    return tuple(
        entry.id for entry in CATEGORIES if re.search(rf"\b{entry.words}(s|es)?\b", instruction, re.IGNORECASE)
    )


def find_scene(episodes: Iterable[Episode], instruction: str) -> Episode:
    """The first episode in whose apartment everything that the instruction names is lying about.

    Raises:
        UserError: there is no such episode.

    """
    wanted = set(mentioned(instruction))
    for episode in episodes:
        if wanted <= {thing.category for thing in episode.objects}:
            return episode
    raise UserError(
        f"no scene holds all of: {', '.join(sorted(wanted))}", f"instruction {instruction!r}", "choose another split"
    )


def play(
    policy: Policy,
    views: ViewFeatures | None,
    episode: Episode,
    simulator: Simulator,
    out: str | Path,
    instruction: str | None = None,
    max_steps: int = HORIZON,
    say: Callable[[str], object] = print,
) -> Film:
    """Runs one episode and writes it as an animated GIF.

    Args:
        policy: who decides.
        views: what it sees with; None for a policy without images.
        episode: the apartment, its objects, and the task unless `instruction` gives another.
        simulator: where it happens.
        out: the GIF.
        instruction: free text in place of the episode's own. Its goal is then unknown: the film goes on to
            `max_steps` and success is not judged.
        max_steps: at most the horizon.
        say: called with a line per step.

    Raises:
        UserError: `out` is no .gif, or `max_steps` is out of range.

    """
    if Path(out).suffix.lower() != ".gif":
        raise UserError("only GIF is written", out, "give a name that ends with .gif")
    if not 1 <= max_steps <= HORIZON:
        raise UserError(f"{max_steps} steps", "max_steps", f"choose 1 to {HORIZON}")
    goal_known = instruction is None or instruction == episode.instruction
    task = episode if instruction is None else replace(episode, instruction=instruction)
    simulator.reset(task)
    state = policy.start([task])
    say(task.instruction)
    shots: list[Shot] = []
    success: bool | None = False if goal_known else None
    while len(shots) < max_steps and not success:
        features = views.features([simulator]) if views is not None and policy.uses_images else None
        actions, state = policy.act(features, state, np.ones(1, bool))
        skill, image = SKILLS[actions[0]], simulator.render()
        shots.append(Shot(image, words(skill), simulator.apply(skill)))
        say(f"{len(shots):3d}. {shots[-1].words}{'' if shots[-1].valid else ' (invalid)'}")
        success = satisfied(task.goal, simulator) if goal_known else None
    film = Film(task.instruction, (*shots, Shot(simulator.render(), None)), success)
    write_gif(film, out)
    say({True: "goal reached", False: "goal not reached", None: "free instruction: success is not judged"}[success])
    return film
