"""What every test module leaves behind it."""

import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_tracking_uri_stays():
    """MLflow keeps the address it was given for the whole process, and would take it for that of the next module."""
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
