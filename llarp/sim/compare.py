"""Plays the same episodes in two worlds in lockstep and says where they disagree.

Of every episode two runs are played: its plan, and random skills of which every other one is valid in the first world.
Before each skill both worlds say of all 70 skills whether they are valid and of all atoms whether they hold. A run ends
where the worlds disagree about the skill that comes next, for from there on they are in different states.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llarp.files import file_aside
from llarp.progress import track
from llarp.scenes.catalog import HANDLES, NAV_TARGETS, RECEPTACLES
from llarp.sim.base import Simulator
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.expert import Unsolvable, plan
from llarp.tasks.goals import Predicate, door, satisfied
from llarp.tasks.skills import SKILLS, Skill
from llarp.tasks.world import World

EXAMPLES = 10
"""Disagreements that a report quotes."""


@dataclass
class Agreement:
    """What two worlds said."""

    names: tuple[str, str]
    episodes: int = 0
    steps: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    """Questions asked, by `valid VERB` or `holds PREDICATE`."""
    different: Counter[str] = field(default_factory=Counter)
    """Answers that differ, likewise."""
    plans: Counter[str] = field(default_factory=Counter)
    """Plans that reach their goal, by world."""
    parted: int = 0
    """Runs that ended because the worlds disagreed about the next skill."""
    examples: list[str] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether no answer differs."""
        return not self.different

    def note(self, what: str, question: object, answers: tuple[bool, bool], where: str) -> None:
        """Counts one question."""
        self.compared[what] += 1
        if answers[0] != answers[1]:
            self.different[what] += 1
            if len(self.examples) < EXAMPLES:
                said = ", ".join(f"{name} {answer}" for name, answer in zip(self.names, answers, strict=True))
                self.examples.append(f"{where}: {what.split()[0]} {question}: {said}")

    def __str__(self) -> str:
        lines = [f"{'':26s}{'compared':>10s}{'different':>11s}{'agreement':>11s}"]
        for what, count in sorted(self.compared.items(), reverse=True):
            share = 1 - self.different[what] / count
            lines.append(f"{what:26s}{count:>10d}{self.different[what]:>11d}{share:>11.2%}")
        solved = ", ".join(f"{self.plans[name]} in {name}" for name in self.names)
        lines.append(f"{self.episodes} episodes, {self.steps} steps; goals reached by the plans: {solved}")
        if self.parted:
            lines.append(f"{self.parted} runs ended early, where the next skill was valid in one world only")
        return "\n".join([*lines, *self.examples])


def compare(
    worlds: tuple[World, World],
    names: tuple[str, str],
    episodes: Sequence[Episode],
    random_steps: int,
    seed: int,
    pictures: Path | None = None,
) -> Agreement:
    """Plays episodes in both worlds.

    Args:
        worlds: the two; both `Simulator`s when `pictures` is given.
        names: theirs.
        episodes: one without a plan gets the expert's.
        random_steps: skills of each random run.
        seed: of the random skills.
        pictures: folder for one PNG per episode: the views of its plan, a row per world; None: nothing is drawn.

    """
    report = Agreement(names)
    for episode in track(episodes, "episodes compared", len(episodes), "episode"):
        report.episodes += 1
        rng = random.Random(f"{seed} {episode.episode_id}")
        frames = _play(report, worlds, episode, iter(_plan(episode)), "plan", pictures is not None)
        for name, world in zip(names, worlds, strict=True):
            report.plans[name] += satisfied(episode.goal, world)
        _play(report, worlds, episode, _random_skills(worlds[0], random_steps, rng), "random", False)
        if pictures is not None:
            _write(pictures / f"{episode.episode_id}.png", frames)
    return report


def atoms(episode: Episode) -> Iterator[Predicate]:
    """Every atom without variables of an episode."""
    names = [entry.name for entry in episode.objects]
    yield Predicate("not_holding")
    for target in (*NAV_TARGETS, *names):
        yield Predicate("robot_at", (target,))
    for entry in HANDLES:
        yield door(entry.id, True)
        yield door(entry.id, False)
    for name in names:
        yield Predicate("holding", (name,))
        yield Predicate("robot_at_obj", (name,))
        for receptacle in RECEPTACLES:
            yield Predicate("on_top", (name, receptacle.id))
        for entry in HANDLES:
            yield Predicate("in", (name, entry.id))


def _plan(episode: Episode) -> Sequence[Skill]:
    if episode.plan:
        return episode.plan
    try:
        return plan(RuleWorld(), episode)
    except Unsolvable:
        return ()


def _random_skills(world: World, count: int, rng: random.Random) -> Iterator[Skill]:
    for step in range(count):
        yield rng.choice([skill for skill in SKILLS if world.is_valid(skill)] if step % 2 else SKILLS)


def _play(
    report: Agreement,
    worlds: tuple[World, World],
    episode: Episode,
    skills: Iterator[Skill],
    kind: str,
    look: bool,
) -> list[list[np.ndarray]]:
    """One run; the frames that each world showed."""
    for world in worlds:
        world.reset(episode)
    questions = list(atoms(episode))
    frames: list[list[np.ndarray]] = [[], []]
    number, ended = 0, False
    while not ended:
        where = f"{episode.episode_id}, {kind}, after {number} skills"
        for skill in SKILLS:
            report.note(f"valid {skill.verb}", skill, _both(world.is_valid(skill) for world in worlds), where)
        for atom in questions:
            report.note(f"holds {atom.name}", atom, _both(world.holds(atom) for world in worlds), where)
        if look:
            for row, world in zip(frames, worlds, strict=True):
                assert isinstance(world, Simulator)
                row.append(world.render())
        report.steps += 1
        following = next(skills, None)
        ended = following is None
        if following is not None:
            valid = _both(world.is_valid(following) for world in worlds)
            if valid[0] != valid[1]:
                report.parted += 1
                break
            for world in worlds:
                world.apply(following)
            number += 1
    return frames


def _both(answers: Iterable[bool]) -> tuple[bool, bool]:
    first, second = answers
    return bool(first), bool(second)


def _write(path: Path, frames: list[list[np.ndarray]]) -> None:
    from PIL import Image

    with file_aside(path) as aside:
        Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in frames])).save(aside, format="PNG")
