"""How the last episodes of a training went: what one looks at while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WINDOW = 200
"""Episodes that are averaged over."""


class Standing:
    """Success, length and reward over the last episodes, of all and by family; over all ranks."""

    def __init__(self, last: Sequence[Sequence[Any]] = (), episodes: int = 0) -> None:
        """Args:
        last: (family, success, steps, invalid actions, reward) of the last episodes, in order.
        episodes: ended so far.
        """
        self._last = [list(entry) for entry in last]
        self.episodes = episodes

    def add(self, ended: Sequence[Sequence[Any]]) -> None:
        """Episodes that have ended, as in the constructor."""
        self._last = [*self._last, *map(list, ended)][-WINDOW:]
        self.episodes += len(ended)

    def figures(self) -> dict[str, float]:
        """Curves by name; none before the first episode has ended."""
        if not self._last:
            return {}
        _, success, steps, invalid, reward = (list(column) for column in zip(*self._last, strict=True))
        families = sorted({entry[0] for entry in self._last})
        by_family = {family: [entry[1] for entry in self._last if entry[0] == family] for family in families}
        return {
            "rollout/success_rate": _mean(success), "rollout/episode_length": _mean(steps),
            "rollout/invalid_actions": _mean(invalid), "rollout/episode_reward": _mean(reward),
            "rollout/episodes": float(self.episodes),
            **{f"rollout/success_rate/{family}": _mean(ones) for family, ones in by_family.items()},
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """JSON that the constructor takes."""
        return {"last": self._last, "episodes": self.episodes}


def _mean(numbers: Sequence[float]) -> float:
    return float(sum(numbers) / len(numbers))
