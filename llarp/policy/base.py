"""The interface of everything that decides: LLaRP and every baseline."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Task(Protocol):
    """What a policy may know of an episode before it starts."""

    @property
    def instruction(self) -> str:
        """What is asked for."""


class Policy(ABC):
    """Chooses actions for a batch of B episodes that run side by side, one image at a time."""

    uses_images: bool = True
    """False when `act` ignores its features, so that nothing need be drawn."""

    @abstractmethod
    def start(self, tasks: Sequence[Task]) -> Any:
        """State of B new episodes. A learned policy reads the instructions and nothing else."""

    @abstractmethod
    def act(self, features_BPD: np.ndarray | None, state: Any, running_B: np.ndarray) -> tuple[np.ndarray, Any]:
        """One step of every episode.

        Args:
            features_BPD: float16 or float32 [B, P, D] features of the images seen now; None without images.
            state: what `start` or the last `act` returned.
            running_B: bool[B]; the action of an episode that has ended is ignored.

        Returns:
            int64[B] numbers of actions, and the next state.

        """
