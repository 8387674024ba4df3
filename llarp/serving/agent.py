"""A policy with its eyes, for whoever has a robot: an instruction begins a session, each image is answered by a skill.

    session = agent.start("Move an apple to the sofa")
    skill = session.act(image)  # "nav(counter_left)"

A session keeps the keys and values of all that it has read, so that a step reads one new frame only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from llarp.errors import UserError
from llarp.tasks.episode import HORIZON

if TYPE_CHECKING:
    from llarp.config import CameraConfig
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.vision.base import Encoder

_WARM_UP = 3
_RUNNING = np.ones(1, bool)


class SessionEndedError(ValueError):
    """There is no further step: the session was closed, or its episode has had all of them."""


@dataclass(frozen=True)
class _Task:
    instruction: str


class Agent:
    """Sessions of one policy. Threads may share it: one of them is served at a time."""

    horizon = HORIZON
    """Most steps of a session: as many as a policy was trained for."""

    def __init__(self, policy: LLaRPPolicy, encoder: Encoder, camera: CameraConfig) -> None:
        """Args:
        policy: who decides.
        encoder: that it was trained with.
        camera: gives the size of an image.
        """
        self.policy, self.encoder, self.camera = policy, encoder, camera
        self._turn = Lock()

    @classmethod
    def load(cls, policy: Path, encoder: Path, params: Path) -> Agent:
        """Reads both folders and the camera of a params.yaml; UserError when one of them is missing or damaged."""
        from llarp.config import load_params
        from llarp.policy.llarp import LLaRPPolicy
        from llarp.vision.encoder import load_encoder

        return cls(LLaRPPolicy.load(policy), load_encoder(encoder), load_params(params).camera)

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of all that a step may answer."""
        return self.policy.actions

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return self.camera.height, self.camera.width, 3

    def start(self, instruction: str) -> Session:
        """Reads an instruction; UserError when it is empty or longer than the policy takes."""
        if not instruction.strip():
            raise UserError("is empty", "instruction", "say what is to be done")
        with self._turn:
            return Session(self, self.policy.start([_Task(instruction)]))

    def warm_up(self) -> None:
        """Takes a few steps at nothing, so that no later one waits for what is allocated or compiled once."""
        with self.start("Go") as session:
            for _ in range(_WARM_UP):
                session.act(np.zeros(self.image_shape, np.uint8))

    def _step(self, image: np.ndarray, state: Any) -> tuple[str, Any]:
        # As in training, features pass through float16.
        features_1PD = self.encoder.encode_halves(image[None])
        actions_1, state = self.policy.act(features_1PD, state, _RUNNING)
        return self.actions[actions_1[0]], state


class Session:
    """One episode: made by `Agent.start`; closing it frees what it keeps, as does leaving it as a context."""

    def __init__(self, agent: Agent, state: Any) -> None:
        """Args:
        agent: whose session it is.
        state: of its policy, which has read the instruction.
        """
        self.agent = agent
        self.steps = 0
        """Steps done."""
        self._state: Any = state

    @property
    def has_ended(self) -> bool:
        """Whether there is no further step."""
        return self._state is None

    def act(self, image: np.ndarray) -> str:
        """The name of what to do now, given what the camera sees now.

        Args:
            image: uint8[H, W, 3] of the camera's size.

        Raises:
            ValueError: the image is another array; nothing was read then.
            SessionEndedError: there is no further step.

        """
        if image.dtype != np.uint8 or image.shape != self.agent.image_shape:
            height, width, _ = self.agent.image_shape
            raise ValueError(f"the image is {image.dtype}{list(image.shape)}, not uint8[{height}, {width}, 3]")
        with self.agent._turn:
            if self._state is None:
                why = f"has had its {self.steps} steps" if self.steps == self.agent.horizon else "was closed"
                raise SessionEndedError(f"the session {why}: start another")
            state, self._state = self._state, None  # what fails half-way leaves nothing to go on from
            skill, state = self.agent._step(image, state)
            self.steps += 1
            if self.steps < self.agent.horizon:
                self._state = state
        return skill

    def close(self) -> None:
        """Frees what was read; a session may be closed again."""
        with self.agent._turn:
            self._state = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
