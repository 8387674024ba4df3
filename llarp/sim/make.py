"""The one place that decides which simulator an episode happens in."""

from collections.abc import Callable

from llarp.config import Params
from llarp.sim.base import Simulator

MakeSimulator = Callable[[], Simulator]
"""Makes a simulator; a `functools.partial` of `make_simulator`, which other processes can be given."""


def make_simulator(params: Params) -> Simulator:
    """The simulator that `params.simulator` names; UserError when what it needs is not installed or not there."""
    config = params.simulator
    if config.name == "habitat":
        from llarp.sim.habitat.simulator import HabitatSimulator

        return HabitatSimulator(params.camera, config)
    from llarp.sim.embedded import EmbeddedSimulator

    return EmbeddedSimulator(params.camera)
