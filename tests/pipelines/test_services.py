"""The servers of a lab, for real: they answer, keep what they are told, tell no password and leave no process."""

import dataclasses
import json
import os
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from llarp.errors import UserError
from pipelines.server import is_free
from pipelines.services.postgres import DATABASES, OWNER
from pipelines.services.secrets import passwords, read_private
from pipelines.services.stack import Layout, Services

pytestmark = pytest.mark.slow


def client(services):
    from mlflow import MlflowClient

    return MlflowClient(services.mlflow.address)


def log_run(services, tmp_path, name):
    """A run with a metric and an artifact, through the server alone."""
    mlflow = client(services)
    found = mlflow.get_experiment_by_name("services")
    experiment = found.experiment_id if found else mlflow.create_experiment("services")
    run = mlflow.create_run(experiment, run_name=name).info.run_id
    mlflow.log_metric(run, "score", 0.5, step=1)
    (tmp_path / "note.txt").write_text(name)
    mlflow.log_artifact(run, str(tmp_path / "note.txt"))
    mlflow.set_terminated(run)
    return run


def ask(url, **body):
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def secrets_of(services):
    return {name: it for name, it in read_private(services.root / "passwords").items() if name != "s3_key"}


def test_databases_need_a_password_and_open_to_their_own_role(services):
    import psycopg2

    for name in DATABASES:
        with closing(services.postgres.connect(name, name)) as db:
            cursor = db.cursor()
            cursor.execute("SELECT current_user, count(*) FROM pg_tables WHERE schemaname = 'public' GROUP BY 1")
            user, tables = cursor.fetchone()
        assert user == name and tables > 10
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        services.postgres.connect("prefect", "mlflow")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=services.postgres.port, user=OWNER, password="wrong", dbname="postgres")


def test_artifacts_go_through_mlflow_into_the_store(services, tmp_path):
    import boto3

    run = log_run(services, tmp_path, "by proxy")
    assert client(services).get_run(run).info.artifact_uri.startswith("mlflow-artifacts:/")
    assert Path(client(services).download_artifacts(run, "note.txt", str(tmp_path / "."))).read_text() == "by proxy"
    it = services.object_store.client_variables()
    store = boto3.client(
        "s3",
        endpoint_url=it["AWS_ENDPOINT_URL_S3"],
        region_name=it["AWS_DEFAULT_REGION"],
        aws_access_key_id=it["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=it["AWS_SECRET_ACCESS_KEY"],
    )
    keys = [found["Key"] for found in store.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert any(run in key and key.endswith("note.txt") for key in keys)
    assert {bucket["Name"] for bucket in store.list_buckets()["Buckets"]} == {"mlflow", "dvc"}


def test_dvc_pushes_to_the_store(services, tmp_path):
    """With the lines of docs/services.md, keys from the environment."""
    variables = {**os.environ, **services.variables}

    def dvc(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--quiet")
    dvc("remote", "add", "--default", "lab", "s3://dvc/llarp")
    dvc("remote", "modify", "lab", "endpointurl", services.object_store.address)
    (tmp_path / "data.txt").write_text("bytes")
    dvc("add", "--quiet", "data.txt")
    dvc("push", "--quiet")
    for path in (tmp_path / "data.txt", tmp_path / ".dvc" / "cache"):
        subprocess.run(["rm", "-r", path], check=True)
    dvc("pull", "--quiet")
    assert (tmp_path / "data.txt").read_text() == "bytes"


def test_prefect_answers(services):
    assert ask(f"{services.prefect.api}/health") is True
    made = ask(f"{services.prefect.api}/variables/", name="made_here", value="kept")
    assert ask(f"{services.prefect.api}/variables/{made['id']}")["value"] == "kept"


def test_no_password_is_on_a_command_line_in_a_log_or_open_to_others(services):
    hidden = secrets_of(services)
    assert len(set(hidden.values())) == 4 and all(len(it) >= 32 for it in hidden.values())
    lines = [" ".join(it.info["cmdline"] or ()) for it in psutil.process_iter(["cmdline"])]
    assert any("mlflow server" in line for line in lines)
    logs = [path.read_text() for path in (services.root / "logs").iterdir()]
    assert len(logs) == 4 and all(logs[:1])
    for secret in hidden.values():
        assert not any(secret in text for text in (*lines, *logs))
    for name in ("passwords", "env", *(f"logs/{part.name}.log" for part in services.parts)):
        assert (services.root / name).stat().st_mode & 0o077 == 0, name


def test_a_shell_can_source_the_addresses(services):
    script = f"set -a; . {services.env}; set +a; exec env"
    said = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True).stdout
    assert {line.partition("=")[0]: line.partition("=")[2] for line in said.splitlines()}.items() >= (
        services.variables.items()
    )


def test_one_that_runs_is_not_started_again(services):
    with pytest.raises(UserError, match="the services run already"):
        Services(services.root).start()
    with pytest.raises(UserError, match="port .* is taken"):
        Services(services.root.with_name("other"), services.layout).mlflow.start()
    assert all(part.is_healthy() for part in services.parts)


def test_after_a_crash_of_the_database_the_servers_go_on(services, tmp_path):
    before = log_run(services, tmp_path, "before")
    services.postgres.kill()
    assert not services.prefect.is_healthy()
    services.postgres.start()
    services.postgres.wait()
    services.prefect.wait()
    assert client(services).get_run(before).data.metrics == {"score": 0.5}
    log_run(services, tmp_path, "after")


def test_what_outlives_a_killed_server_is_ended_with_it(services):
    leader = services.mlflow.process
    (child, *_) = leader.children()
    leader.kill()
    psutil.wait_procs([leader])
    assert not services.mlflow.is_running() and not is_free(services.mlflow.port)
    services.mlflow.stop()
    assert not child.is_running() and is_free(services.mlflow.port)
    services.mlflow.start()
    services.mlflow.wait()


def test_after_stop_no_process_is_left_and_after_start_all_is_there(services, tmp_path):
    """Last: the artifacts in memory are gone then. Begins again with artifacts on disk, ends with those of before."""
    run = log_run(services, tmp_path, "kept")
    family = [
        process
        for part in services.parts
        if (leader := part.process)
        for process in (leader, *leader.children(recursive=True))
    ]
    assert len(family) > 8
    services.stop()
    assert not psutil.wait_procs(family, timeout=0)[1]
    assert all(is_free(part.port) for part in services.parts) and not services.env.exists()
    try:
        with Services(services.root, dataclasses.replace(services.layout, object_store="disk")) as again:
            assert client(again).get_run(run).data.metrics == {"score": 0.5}
            assert ask(f"{again.prefect.api}/variables/name/made_here")["value"] == "kept"
            on_disk = log_run(again, tmp_path, "on disk")
            files = [path for path in (again.root / "artifacts").rglob("note.txt") if on_disk in str(path)]
            assert [path.read_text() for path in files] == ["on disk"]
            assert set(again.variables) == {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
    finally:
        services.start()


def test_passwords_that_others_can_read_or_that_are_gone_are_told(tmp_path):
    path = tmp_path / "passwords"
    first = passwords(path, has_data=False)
    assert passwords(path, has_data=True) == first
    path.chmod(0o644)
    with pytest.raises(UserError, match="other users can read it"):
        passwords(path, has_data=True)
    path.unlink()
    with pytest.raises(UserError, match="is gone"):
        passwords(path, has_data=True)


def test_what_is_no_object_store_is_told(tmp_path):
    with pytest.raises(UserError, match="give disk, moto or s3"):
        Services(tmp_path, Layout(object_store="cloud"))
    with pytest.raises(UserError, match="llarp services start"):
        Services(tmp_path / "nowhere")
