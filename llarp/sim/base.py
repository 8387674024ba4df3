"""The interface of every simulator: a world that can be seen."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from llarp.tasks.world import World


class Playable(ABC):
    """Whatever episodes can be played in and a camera sees: all that policies, feature stores and films need.

    Drawing is lazy: who has the feature of a view never draws it.
    """

    @abstractmethod
    def reset(self, episode: Any) -> None:
        """Puts everything where the episode says; the same episode and actions always give the same views."""

    @abstractmethod
    def apply(self, action: Any) -> bool:
        """Carries an action out if it is valid; returns whether it was. An invalid action changes nothing."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of an image."""

    @abstractmethod
    def view_key(self) -> bytes:
        """16-byte digest of all that the camera could see: two equal keys mean two equal images.

        It covers the size of the image and the version of the code that draws, but no encoder.
        """

    @abstractmethod
    def render(self) -> np.ndarray:
        """uint8[H, W, 3] image of the camera now."""


class Simulator(World, Playable):
    """An apartment of Language Rearrangement with the robot's head camera.

    View keys cover camera pose, furniture, visible objects with their looks and poses, the held object, doors and
    drawers.
    """
