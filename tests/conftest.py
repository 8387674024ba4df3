"""What test modules that share a process must not do to each other."""

import sys

import dvc  # noqa: F401  # its log goes for ever to the stdout of its import, which in a test may be closed afterwards
import pytest


@pytest.fixture(scope="module", autouse=True)
def no_tracking_uri_stays():
    """MLflow keeps the address it was given for the whole process, and would take it for that of the next module."""
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
