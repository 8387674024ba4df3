"""What test modules that share a process must not do to each other."""

import os
import sys

import dvc  # noqa: F401  # its log goes for ever to the stdout of its import, which in a test may be closed afterwards
import pytest

PYTESTS_OWN = "PYTEST_"


@pytest.fixture(scope="module", autouse=True)
def nothing_stays():
    """Variables that a module has set, and MLflow's address, which it keeps for the whole process, are forgotten."""
    before = dict(os.environ)
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    for name in [name for name in os.environ if not name.startswith(PYTESTS_OWN)]:
        if name not in before:
            del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if not name.startswith(PYTESTS_OWN)})
