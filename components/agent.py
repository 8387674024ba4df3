"""A model version of the registry at work, for a robot's own Python: see docs/serving.md."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llarp.serving import Agent


def load_agent(uri: str) -> "Agent":
    """The agent of a model version: it takes instructions and images and answers with skills.

    Adapters, encoder and parameters are the version's; the code is the one installed here, none of the version's runs.

    Args:
        uri: as `models:/llarp@champion` or `models:/llarp/7`.

    Raises:
        UserError: there is no such version, its files are not those that were registered, or its backbone is missing
            here.

    """
    from components import environment

    environment.apply()
    from components.model_files import fetch
    from llarp.serving import Agent

    files = fetch(uri) / "artifacts"
    return Agent.load(files / "policy", files / "encoder", files / "params.yaml")
