"""Runs the expert, and the plans recorded in the release, on released episodes and says what fails and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llarp.scenes.catalog import handle, receptacle
from llarp.sim.replay import begin, explained, starts_beside
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.expert import Unsolvable, demonstrate, plan
from llarp.tasks.goals import satisfied
from llarp.tasks.skills import Skill

PLANS = ("expert", "demonstration", "recorded")
"""Expert knowing everything, expert that looks for things, and the release's own plan."""


@dataclass(frozen=True)
class Failure:
    """One plan that did not reach its goal."""

    plan: str
    episode: Episode
    reason: str

    def __str__(self) -> str:
        where = f"{self.episode.episode_id} ({self.episode.layout}, {self.episode.family})"
        return f"{self.plan:13s} {where}: {self.reason}"


@dataclass(frozen=True)
class Report:
    """Outcome of `check`."""

    episodes: Counter[str]
    """Number of episodes by split."""
    failures: tuple[Failure, ...]
    beside: tuple[str, ...] = ()
    """Episodes whose recorded robot started within reach of its first object, where ours was first put."""

    def solved(self, plan: str) -> float:
        """Share of all episodes in which a kind of plan reached the goal; 1 without episodes."""
        total = self.episodes.total()
        return 1 - sum(failure.plan == plan for failure in self.failures) / total if total else 1.0

    def __str__(self) -> str:
        failed = Counter((failure.episode.split, failure.plan) for failure in self.failures)
        lines = [f"{'split':24s} {'episodes':>8s} " + " ".join(f"{name:>13s}" for name in PLANS)]
        lines += [
            f"{split:24s} {count:8d} " + " ".join(f"{count - failed[split, name]:13d}" for name in PLANS)
            for split, count in sorted(self.episodes.items())
        ]
        lines.append(f"{'all':24s} {self.episodes.total():8d} " + " ".join(f"{self.solved(n):13.1%}" for n in PLANS))
        lines += [str(failure) for failure in self.failures]
        if self.beside:
            lines.append(f"recorded robot started beside its first object: {', '.join(self.beside)}")
        return "\n".join(lines)


def check(world: RuleWorld, episodes: Iterable[Episode]) -> Report:
    """Solves every episode in each of the three ways."""
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    beside: list[str] = []
    for episode in episodes:
        counts[episode.split] += 1
        for name, solve in (("expert", plan), ("demonstration", demonstrate)):
            try:
                solve(world, episode)
            except Unsolvable as error:
                failures.append(Failure(name, episode, str(error)))
        try:
            skills = explained(world, episode)
        except ValueError as error:
            failures.append(Failure("recorded", episode, f"the record cannot be explained: {error}"))
            continue
        if starts_beside(skills):
            beside.append(episode.episode_id)
        reason = replay(world, episode, skills)
        if reason is not None:
            failures.append(Failure("recorded", episode, reason))
    return Report(counts, tuple(failures), tuple(beside))


def replay(world: RuleWorld, episode: Episode, skills: Sequence[Skill]) -> str | None:
    """Carries a recorded plan out; None when the goal holds after it, else the reason why not.

    Our robot starts in the middle of the room; where the recorded one started beside its first object, so does this.
    """
    if not skills:
        return "nothing is recorded"
    begin(world, episode, skills)
    for number, skill in enumerate(skills):
        if not world.apply(skill):
            return _explain(world, skills, number)
    if satisfied(episode.goal, world):
        return None
    picked = Counter(skill.target for skill in skills if skill.verb == "pick")
    again = [target for target, times in picked.items() if times > 1]
    return f"pick({again[0]}) took an instance again that it had put down" if again else "the goal does not hold"


def _explain(world: RuleWorld, skills: Sequence[Skill], number: int) -> str:
    """Why a skill of a recorded plan is invalid here."""
    skill = skills[number]
    before = f"step {number + 1}, {skill}: "
    if skill.verb == "place" and skill.target is not None:
        door = receptacle(skill.target).handle
        if door is not None and door not in world.opened:
            return before + f"the solver put it through the closed {handle(door).words}"
    return before + f"not within reach of {world.at}"
