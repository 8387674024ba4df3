"""A trained policy at work: one instruction and one image after the other, one skill after the other."""

from llarp.serving.agent import Agent, Session, SessionEndedError

__all__ = ["Agent", "Session", "SessionEndedError"]
