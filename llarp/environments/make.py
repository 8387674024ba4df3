"""Which environment family the parameters name."""

from llarp.config import EnvironmentName, Params
from llarp.environments.base import Environment


def family(name: EnvironmentName) -> type[Environment]:
    """The class of a family; nothing that only a simulator needs is imported."""
    if name == "babyai":
        from llarp.environments.babyai import BabyAI

        return BabyAI
    if name == "atari":
        from llarp.environments.atari import Atari

        return Atari
    from llarp.environments.rearrangement import Rearrangement

    return Rearrangement


def make_environment(params: Params) -> Environment:
    """The environment family of `params.environment`."""
    return family(params.environment)(params)
