"""How far our rules agree with the real simulator, atom by atom, on the plans recorded in released episodes.

A plan is replayed in our world, and after each of its steps what holds here is compared with what was recorded. Atoms
outside the record's scope are left out, and so are those that our world already holds true at the start: the record
leaves these out as well. It also leaves out what was near its robot's first pose, which it does not tell. Such atoms
count as extra, unless the plan itself shows that they were true (`left_out`); how many are never recorded in their
episode, and so may be of this kind, is shown as `unseen`. `not_holding` is never recorded; it is taken as recorded
where no `holding` is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llarp.progress import Progress
from llarp.sim.replay import atoms, begin, explained
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate
from llarp.tasks.released.derive_layouts import held_out
from llarp.tasks.released.recorded import Scope
from llarp.tasks.skills import Skill

ROWS: tuple[str, ...] = (
    "holding", "not_holding", "on_top", "in", "opened_*/closed_*", "robot_at(receptacle)", "robot_at(handle)",
    "robot_at(object)", "robot_at_obj",
)  # fmt: skip
"""Kinds of atoms, in the order of the table."""
ALL, FITTED, HELD_OUT = "all", "fitted", "held out"


@dataclass(frozen=True)
class Agreement:
    """Outcome of `compare`."""

    episodes: Counter[str]
    """Episodes by split, and by ALL, FITTED and HELD_OUT."""
    counts: Counter[tuple[str, str, str]]
    """(split or group, row of ROWS, "recorded" | "missing" | "extra" | "unseen") -> atoms; unseen are extra, too."""

    def reproduced(self, group: str, row: str) -> float:
        """Share of the recorded atoms that hold here too; 1 without any."""
        recorded = self.counts[group, row, "recorded"]
        return 1 - self.counts[group, row, "missing"] / recorded if recorded else 1.0

    def extra(self, group: str, row: str) -> float:
        """Atoms that hold here and were not recorded, relative to those recorded."""
        return self.counts[group, row, "extra"] / max(1, self.counts[group, row, "recorded"])

    def __str__(self) -> str:
        groups = [split for split in sorted(self.episodes) if split not in (ALL, FITTED, HELD_OUT)]
        lines = []
        for group in (*groups, FITTED, HELD_OUT, ALL):
            if not self.episodes[group]:
                continue
            what = f"{group}, {self.episodes[group]} episodes"
            lines.append(
                f"{what:36s} {'recorded':>9s} {'reproduced':>11s} {'missing':>8s} {'extra':>6s} {'':>7s} {'unseen':>7s}"
            )
            for row in ROWS:
                recorded, missing, extra = (self.counts[group, row, of] for of in ("recorded", "missing", "extra"))
                if recorded or extra:
                    shares = f"{recorded:9d} {self.reproduced(group, row):11.1%}"
                    unseen = self.counts[group, row, "unseen"]
                    more = f"{missing:8d} {extra:6d} {self.extra(group, row):7.1%} {unseen:7d}"
                    lines.append(f"  {row:34s} {shares} {more}")
            lines.append("")
        return "\n".join(lines[:-1])


def compare(world: RuleWorld, episodes: Iterable[Episode]) -> Agreement:
    """Replays the recorded plan of every episode; one whose record cannot be explained is left out."""
    episodes = list(episodes)
    numbers: Counter[str] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    with Progress("Replaying", len(episodes), "episode") as progress:
        for episode in episodes:
            progress.update()
            try:
                differences = _replay(world, episode)
            except ValueError:
                continue
            for group in (episode.split, HELD_OUT if held_out(episode) else FITTED, ALL):
                numbers[group] += 1
                for (row, of), count in differences.items():
                    counts[group, row, of] += count
    return Agreement(numbers, counts)


def _replay(world: RuleWorld, episode: Episode) -> Counter[tuple[str, str]]:
    skills = explained(world, episode)
    scope = Scope.of(episode)
    world.reset(episode)
    omitted = (atoms(world, scope) - {Predicate("not_holding", ())}) | left_out(skills, episode)
    ever = {atom for step in episode.recorded for atom in step}
    begin(world, episode, skills)
    result: Counter[tuple[str, str]] = Counter()
    for skill, step in zip(skills, episode.recorded, strict=True):
        world.apply(skill)
        recorded = set(step)
        if not any(atom.name == "holding" for atom in recorded):
            recorded.add(Predicate("not_holding", ()))
        here = atoms(world, scope) - (omitted - recorded)
        extra = here - recorded
        for of, some in (
            ("recorded", recorded),
            ("missing", recorded - here),
            ("extra", extra),
            ("unseen", extra - ever),
        ):
            for atom in some:
                result[row_of(world, atom), of] += 1
    return result


def left_out(skills: Sequence[Skill], episode: Episode) -> set[Predicate]:
    """Atoms that were true by what the plan did and yet are not recorded: they were true from the start on.

    Something was put on a receptacle, or a door turned, from where `robot_at` of it is not recorded.
    """
    needed = (
        (Predicate("robot_at", (skill.subject,)), step)
        for skill, step in zip(skills, episode.recorded, strict=True)
        if skill.verb not in ("nav", "pick")
    )
    return {atom for atom, step in needed if atom not in step}


def row_of(world: RuleWorld, atom: Predicate) -> str:
    """The row of the table that an atom counts in."""
    if atom.name == "robot_at":
        id = atom.args[0]
        kind = "object" if id in world.objects else "receptacle" if id in world.layout.surfaces else "handle"
        return f"robot_at({kind})"
    return "opened_*/closed_*" if atom.name.startswith(("opened_", "closed_")) else atom.name
