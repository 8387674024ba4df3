"""How long a step takes: from an image to the skill, the encoder and the policy counted, nothing beside it running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llarp.environments.base import AnyEpisode
    from llarp.serving.agent import Agent
    from llarp.sim.base import Playable

MOST_STEPS = 200
FEWEST_STEPS = 20
"""Are measured, however long they take."""
BUDGET_S = 5.0
"""Beyond the fewest steps, all of them together take no longer."""


@dataclass(frozen=True)
class Latency:
    """Of a number of steps."""

    steps: int
    p50_ms: float
    """NaN without steps, as the other two."""
    p99_ms: float
    mean_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Of steps that took so long."""
        if not len(seconds):
            return cls(0, *[float("nan")] * 3)
        times_ms = 1e3 * np.asarray(seconds)
        p50, p99 = np.percentile(times_ms, (50, 99))
        return cls(len(times_ms), float(p50), float(p99), float(times_ms.mean()))

    def __str__(self) -> str:
        return f"{self.steps} steps, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"

    def metrics(self) -> dict[str, float]:
        """To log; the promotion gate reads them."""
        return {"serve/latency_p50_ms": self.p50_ms, "serve/latency_p99_ms": self.p99_ms}


def measure(
    agent: Agent,
    episodes: Sequence[AnyEpisode],
    simulator: Playable,
    actions: Sequence[Any],
    most_steps: int = MOST_STEPS,
    budget_s: float = BUDGET_S,
) -> Latency:
    """Lets an agent play episodes, each to the horizon so that the longest memories count, and times its steps.

    Reading the instruction and drawing are no part of a step.

    Args:
        agent: of the episodes' environment.
        episodes: are played one after the other, and from the first again; at least one.
        simulator: draws images of the agent's camera.
        actions: of the environment.
        most_steps: measured.
        budget_s: seconds of measured steps after which no more are begun, unless fewer than FEWEST_STEPS.

    """
    agent.warm_up()
    by_name = {str(action): action for action in actions}
    seconds: list[float] = []
    number = 0
    while True:
        episode = episodes[number % len(episodes)]
        simulator.reset(episode)
        with agent.start(episode.instruction) as session:
            while not session.has_ended:
                image = simulator.render()
                begun_s = time.perf_counter()
                skill = session.act(image)
                seconds.append(time.perf_counter() - begun_s)
                simulator.apply(by_name[skill])
                is_late = len(seconds) >= FEWEST_STEPS and sum(seconds) >= budget_s
                if len(seconds) >= most_steps or is_late:
                    return Latency.of(seconds)
        number += 1
