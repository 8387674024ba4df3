"""One small agent for all tests."""

import pytest
from agents import save

from llarp.serving import Agent


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folder with policy/, encoder/ and params.yaml."""
    return save(tmp_path_factory.mktemp("agent") / "artifacts")


@pytest.fixture(scope="session")
def agent(saved):
    return Agent.load(saved / "policy", saved / "encoder", saved / "params.yaml")
