"""A copy of the project to run, and one Prefect server for all tests of flows."""

import os
from pathlib import Path

import pytest
from project_copy import Project

from llarp.errors import UserError


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory):
    """Address of a Prefect server; starting one takes long, so there is only this one."""
    from components import environment
    from pipelines.server import Server

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment.defaults(home), "PREFECT_HOME": str(home)}.items():
            patch.setenv(name, value)
        patch.delenv("PREFECT_API_URL", raising=False)
        server = Server()
        server.wait()
        address = os.environ["PREFECT_API_URL"]
        yield address
        from pipelines.processes import end

        end(server.process)
        patch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(scope="session")
def project(request, tmp_path_factory, prefect_api):
    """The project with everything in it, run by nobody yet."""
    root = tmp_path_factory.mktemp("clone")
    return Project(request.config.rootpath, root, {"PREFECT_API_URL": prefect_api})


@pytest.fixture(scope="session")
def services():
    """PostgreSQL, an S3 in memory, MLflow and Prefect on free ports; what a test ends it must start again."""
    import tempfile

    from pipelines.services.postgres import program
    from pipelines.services.stack import Layout, Services

    try:
        program("initdb")
    except UserError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="llarp-services-") as folder:
        root = Path(folder)
        root.chmod(0o755)  # PostgreSQL runs as another user where we are root; pytest's own folders it cannot pass
        with Services(root, Layout.free("moto")) as started:
            yield started
