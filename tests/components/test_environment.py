import os
import re

import pytest

from components import environment
from llarp.errors import UserError


@pytest.fixture
def variables(monkeypatch):
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", "OMP_NUM_THREADS": "4"})
    return os.environ


def test_what_the_user_has_set_stays(variables, tmp_path):
    environment.apply(tmp_path)
    assert variables["OMP_NUM_THREADS"] == "4"
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path / '.llarp' / 'mlflow.db'}"


def test_this_python_comes_first_on_the_path_once(variables, tmp_path):
    environment.apply(tmp_path)
    once = variables["PATH"]
    environment.apply(tmp_path)
    assert variables["PATH"] == once
    assert once.endswith(":/usr/bin")


def test_makefile_and_dockerfile_set_the_same(request):
    """They must set these before Python starts and cannot read them from here."""
    wanted = {**environment.THREADS, **environment.PRIVACY}
    makefile = (request.config.rootpath / "Makefile").read_text()
    assert dict(re.findall(r"^export (\w+) \?= (.*)$", makefile, re.MULTILINE)) == wanted
    dockerfile = (request.config.rootpath / "Dockerfile").read_text()
    assert wanted.items() <= dict(re.findall(r"^ +(\w+)=(\S+)", dockerfile, re.MULTILINE)).items()


def test_telemetry_is_off_for_the_libraries(tmp_path):
    import subprocess
    import sys

    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment.defaults(tmp_path)}
    code = (
        "from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY as hub;"
        "from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY as mlflow;"
        "from prefect.settings import get_current_settings as prefect;"
        "from dvc.analytics import is_enabled as dvc;"
        "print(hub, mlflow.get(), prefect().server.analytics_enabled, dvc())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False", "False"]


def test_state_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / ".llarp").write_text("in the way")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".llarp" / "prefect"))
    with pytest.raises(UserError, match=r"\.llarp"):
        environment.make_state(tmp_path)
