"""What an independent planner says of the expert's plans: pyperplan, through `unified-planning` (extra `dev`).

Its breadth-first search finds a shortest plan of the model in `llarp.sim.planning.model`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llarp.errors import UserError
from llarp.sim.planning.model import Model, read
from llarp.sim.planning.strips import text
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.expert import plan
from llarp.tasks.goals import satisfied
from llarp.tasks.skills import Skill


@dataclass(frozen=True)
class Verdict:
    """One episode, solved by both."""

    episode: Episode
    expert: tuple[Skill, ...]
    planner: tuple[Skill, ...] | None
    """None: the planner proved that its model has no plan."""
    valid: bool
    """Whether the expert's plan is valid in the model, by `unified-planning`'s validator."""
    reaches: bool
    """Whether the planner's plan, carried out in `RuleWorld`, is valid and reaches the goal."""

    @property
    def excess(self) -> int | None:
        """Skills that the expert's plan is longer than the planner's; negative when it is shorter."""
        return None if self.planner is None else len(self.expert) - len(self.planner)


def judge(episode: Episode) -> Verdict:
    """Lets both solve an episode.

    Raises:
        Unsolvable: the expert finds no plan.
        UserError: `unified-planning` or pyperplan is not installed.

    """
    world = RuleWorld()
    expert, model = plan(world, episode), Model(episode)
    environment, reader = _tools()
    problem = reader.parse_problem_string(model.task.domain, model.task.problem)
    with environment.factory.OneshotPlanner(name="pyperplan", params={"search": "bfs"}) as planner:
        found = planner.solve(problem).plan
    with environment.factory.PlanValidator(problem_kind=problem.kind) as validator:
        try:
            valid = bool(validator.validate(problem, reader.parse_plan_string(problem, model.write(expert))))
        except ValueError:
            valid = False
    if found is None:
        return Verdict(episode, expert, None, valid, False)
    lines = (text((step.action.name, *map(str, step.actual_parameters))) for step in found.actions)
    skills = read("\n".join(lines))
    world.reset(episode)
    return Verdict(episode, expert, skills, valid, all(map(world.apply, skills)) and satisfied(episode.goal, world))


@cache
def _tools() -> tuple[Any, Any]:
    """The environment of `unified-planning`, which then prints nothing, and its reader."""
    try:
        import up_pyperplan  # noqa: F401
        from unified_planning.environment import get_environment
        from unified_planning.io import PDDLReader
    except ImportError as error:
        raise UserError(
            f"the planner is not installed ({error.name})", do="pip install unified-planning up-pyperplan"
        ) from None
    environment = get_environment()  # its validator works with no other
    environment.credits_stream = None
    return environment, PDDLReader(environment)


_HEAD = (
    f"{'family':24}{'episodes':>9}{'solved':>8}{'executes':>10}{'valid':>7}{'shortest':>10}{'longer by':>11}{'most':>6}"
)


def table(verdicts: Iterable[Verdict]) -> str:
    """One line per family: how many of the expert's plans are valid, no longer than the planner's, and by how much."""
    families: dict[str, list[Verdict]] = {}
    everything = list(verdicts)
    for verdict in everything:
        families.setdefault(verdict.episode.family, []).append(verdict)
    rows = [_row(family, group) for family, group in families.items()]
    return "\n".join([_HEAD, *rows, _row("all", everything)])


def _row(name: str, group: Sequence[Verdict]) -> str:
    excess = [verdict.excess for verdict in group if verdict.excess is not None]
    shortest = sum(more <= 0 for more in excess)
    return (
        f"{name:24}{len(group):9}{len(excess):8}{sum(v.reaches for v in group):10}{sum(v.valid for v in group):7}"
        f"{shortest:10}{sum(excess) / max(1, len(excess)):11.2f}{max(excess, default=0):6}"
    )
