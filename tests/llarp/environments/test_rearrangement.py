"""Language Rearrangement behind the seam of environments."""

import pytest
from environment_contract import EnvironmentContract

from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.environments.rearrangement import Rearrangement
from llarp.tasks.skills import NAMES
from llarp.tasks.splits import SPLITS


class TestRearrangement(EnvironmentContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls):
        params = load_params()
        camera = params.camera.model_copy(update={"width": 32, "height": 32})
        return make_environment(params.model_copy(update={"camera": camera}))

    def test_it_is_the_benchmark(self, environment):
        assert isinstance(environment, Rearrangement) and environment.is_in_paper()
        assert environment.names() == NAMES and list(environment.splits) == list(SPLITS)
