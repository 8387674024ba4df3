"""Which episodes an evaluation was on, as one short name: two evaluations compare only where it is the same."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict

from llarp.environments.base import AnyEpisode
from llarp.evaluate.rows import source
from llarp.tasks.episode import Episode

LENGTH = 16
"""Hexadecimal digits of a digest that are kept."""


def evaluation_digest(episodes: Iterable[AnyEpisode]) -> str:
    """The first LENGTH hexadecimal digits of a SHA-256 over episodes, whatever their order.

    An episode counts with its name and split, by which outcomes are paired, and with all that makes the task what it
    is; not with what an expert made of it.
    """
    whole = hashlib.sha256()
    for one in sorted(map(_episode, episodes)):
        whole.update(one)
    return whole.hexdigest()[:LENGTH]


def _episode(episode: AnyEpisode) -> bytes:
    name = [source(episode), episode.split, episode.episode_id]
    return hashlib.sha256(json.dumps([*name, _content(episode)], sort_keys=True).encode()).digest()


def _content(episode: AnyEpisode) -> object:
    if isinstance(episode, Episode):
        from llarp.tasks.data.columns import content

        return content(episode).hex()
    fields: dict[str, object] = asdict(episode)  # type: ignore[call-overload]
    return {key: value for key, value in fields.items() if key != "plan"}
