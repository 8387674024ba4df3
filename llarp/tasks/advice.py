"""The expert's advice while somebody else acts: what the demonstrator would do now, in every state another got into.

This is what a learner asks for in DAgger (Ross et al., AISTATS 2011). The adviser knows what a demonstrator could know:
the instruction, what was in reach wherever the robot has stood, and what has been moved since.
"""

from collections.abc import Iterator

from llarp.tasks.expert import routine, start_ways
from llarp.tasks.robot import Robot, Unsolvable
from llarp.tasks.skills import Skill
from llarp.tasks.world import World


class ExpertAdvice:
    """What the expert would do now, in one episode under way.

    As long as its advice is followed, it is `llarp.tasks.expert.demonstrate`, skill by skill. After any other skill the
    expert thinks again, with all that it has seen by then.
    """

    def __init__(self, world: World) -> None:
        """Args:
        world: has just been reset; whoever acts in it tells `note`.
        """
        self.action: Skill | None = None
        """What to do next, valid now; None when the goal holds or the expert is at a loss."""
        self._robot = Robot(world, world.episode, hasty=False)
        try:
            self._ways = start_ways(world, world.episode)
        except Unsolvable:
            self._ways = []
        self._restart()

    def note(self, skill: Skill, valid: bool) -> None:
        """Takes in what was done, advised or not.

        Args:
            skill: was carried out just now.
            valid: whether it was valid; else nothing has changed, and the advice stays as it is.

        """
        if not valid:
            return
        if skill == self.action:
            self._go_on()
        else:
            self._robot.watch(skill)
            self._restart()

    def _restart(self) -> None:
        self._skills: Iterator[Skill] = routine(self._robot, self._ways) if self._ways else iter(())
        self._go_on()

    def _go_on(self) -> None:
        try:
            skill = next(self._skills, None)
        except Unsolvable:
            skill = None
        self.action = skill if skill is not None and self._robot.world.is_valid(skill) else None
