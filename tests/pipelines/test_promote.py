"""The flow `promote` on a real Prefect server and a store of its own: gate, approval, rollback, bad input."""

import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))
from model_versions import DIGEST, NAME, evaluated, register, rows_of, store

from components import aliases

GOOD, BETTER, BAD = {"context": 60, "spatial": 40}, {"context": 70, "spatial": 41}, {"context": 95, "spatial": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request, prefect_api):
    """A project's folder as far as promotion looks at it: params.yaml, and a registry beside it."""
    root = tmp_path_factory.mktemp("promotion")
    shutil.copy(request.config.rootpath / "params.yaml", root)
    return root


@pytest.fixture(scope="module")
def client(folder, prefect_api, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("PYTHONPATH", str(request.config.rootpath))
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: prefect_api}):
            yield store(patch, folder)


@pytest.fixture
def fresh(client):
    """A client on a registry without aliases."""
    for alias in aliases.current(client, NAME):
        client.delete_registered_model_alias(NAME, alias)
    return client


def made(client, successes, **more):
    return register(client, rows_of(successes, episodes=100), **more)


def started(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments], cwd=folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def llarp(folder, *arguments):
    """(exit code, stdout, stderr) of the command line."""
    process = started(folder, *arguments)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def error(err):
    """The one line that tells of bad input."""
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert "Traceback" not in err
    return line


def waiting(client, number):
    """Id of the flow run that waits for an answer about a version."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    deadline_s = time.monotonic() + 120
    with get_client(sync_client=True) as prefect:
        while time.monotonic() < deadline_s:
            for run in prefect.read_flow_runs(flow_run_filter=paused):
                if run.parameters["version"] == number:
                    return str(run.id)
            time.sleep(0.3)
    raise AssertionError("nothing waits")


def test_a_first_champion_then_a_better_one_and_back(fresh, folder):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    one, two, three = made(fresh, GOOD), made(fresh, BETTER), made(fresh, BAD)
    fresh.set_registered_model_alias(NAME, "candidate", one)
    code, out, err = llarp(folder, "promote")
    assert code == 0, out + err
    assert aliases.current(fresh, NAME) == {"candidate": one, "champion": one}

    code, out, err = llarp(folder, "promote", two)
    assert code == 0, out + err
    assert f"Promoted: version {two} of llarp is the champion; version {one} is previous" in out
    assert aliases.current(fresh, NAME) == {"candidate": one, "champion": two, "previous": one}
    version = fresh.get_model_version(NAME, two)
    assert version.tags["decision"] == "promoted (passed the gate)"
    assert f"llarp version {two} passes the gate" in version.description and "| spatial | 100 |" in version.description
    files = {file.path for file in fresh.list_artifacts(version.tags["decision.run"])}
    assert files == {"decision.json", "decision.md"}
    with get_client(sync_client=True) as prefect:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["promotion"]))
        newest = max(prefect.read_artifacts(artifact_filter=key), key=lambda artifact: artifact.created)
        limit = prefect.read_global_concurrency_limit_by_name("registry")
    assert f"llarp version {two} passes the gate" in newest.data
    assert limit.limit == 1 and limit.active_slots == 0

    code, out, err = llarp(folder, "promote", three)
    assert code == 1, out + err
    assert f"Not promoted: version {three} does not pass the gate, against version {two}: loss on spatial" in out
    assert fresh.get_model_version(NAME, three).tags["decision"] == "refused by the gate"
    code, out, err = llarp(folder, "promote", two)
    assert (code, "is the champion already" in out) == (1, True)

    code, out, err = llarp(folder, "rollback", "--why", "it runs into walls")
    assert code == 0, out + err
    assert aliases.current(fresh, NAME) == {"candidate": one, "champion": one, "previous": two}
    code, out, err = llarp(folder, "rollback")
    assert code == 2 and "has been rolled back already" in error(err)
    code, out, err = llarp(folder, "audit", "--most", "3")
    lines = out.splitlines()
    assert f"candidate is {one}, but the last change on record made it none." in lines[0]
    assert f"champion {two} -> {one}" in lines[1] and lines[1].endswith("it runs into walls")
    assert f"previous none -> {one}, champion {one} -> {two}" in lines[2]


def test_a_person_says_yes_no_or_nothing(fresh, folder):
    one, two, three, four = (made(fresh, successes) for successes in (GOOD, GOOD, BETTER, BETTER))
    fresh.set_registered_model_alias(NAME, "champion", one)
    process = started(folder, "promote", two, "--approval", "human")
    run = waiting(fresh, two)
    assert aliases.current(fresh, NAME)["champion"] == one
    code, out, err = llarp(folder, "approve", run, "--no", "--reason", "not on a Friday")
    assert code == 0, err
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    assert f"version {two} was refused by {aliases.user()}: not on a Friday" in out
    assert aliases.current(fresh, NAME) == {"champion": one}

    process = started(folder, "promote", three, "--approval", "human")
    run = waiting(fresh, three)
    code, out, err = llarp(folder, "approve", run, "--yes", "--reason", "it is Monday")
    assert code == 0, err
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert aliases.current(fresh, NAME) == {"champion": three, "previous": one}
    entry = aliases.audit(fresh, NAME, 1)[0]
    assert entry.who == aliases.user() and entry.why.startswith(f"approved by {aliases.user()}: it is Monday")

    text = (folder / "params.yaml").read_text()
    hurry = text.replace("approval_timeout_s: 86400.0", "approval_timeout_s: 1.0")
    (folder / "params.yaml").write_text(hurry.replace("approval: auto", "approval: human"))
    try:
        code, out, err = llarp(folder, "promote", four)
    finally:
        (folder / "params.yaml").write_text(text)
    assert code == 1 and "refused by the time-out: no answer in 1 s" in out
    assert aliases.current(fresh, NAME) == {"champion": three, "previous": one}
    late = next(line for line in (out + err).splitlines() if "llarp approve" in line).split("approve ")[1].split()[0]
    code, out, err = llarp(folder, "approve", late, "--yes")
    assert code == 2 and "waits for no answer: it is Not promoted" in error(err)
    code, out, err = llarp(folder, "approve", "0" * 8 + "-0000-4000-8000-" + "0" * 12, "--yes")
    assert code == 2 and "is not known" in error(err)


def test_bad_input_is_one_clear_line(fresh, folder, monkeypatch):
    from pipelines.promote import promote

    monkeypatch.chdir(folder)

    def refused(*arguments, **more):
        state = promote(*arguments, **more, return_state=True)
        assert (state.is_failed(), state.name, "\n" in state.message) == (True, "Bad input", False)
        return state.message

    one, two, bare = made(fresh, GOOD), made(fresh, BETTER, digest="f" * 16), register(fresh)
    assert "model llarp: has no version or alias '4711'" in refused("4711")
    assert f"version {bare}: has no evaluation" in refused(bare)
    fresh.set_registered_model_alias(NAME, "champion", one)
    assert f"version {one}: was evaluated on other episodes ({DIGEST})" in refused(two, evaluate=False)
    message = refused(two)
    assert "which are not here" in message and "dvc pull" in message
    evaluated(fresh, one, rows_of({"context": 60}, episodes=100), digest="f" * 16, own=False)
    assert "of spatial was evaluated for one of the two only" in refused(two)
    code, _, err = llarp(folder, "promote", "4711")
    assert code == 2 and "model llarp: has no version or alias '4711'" in error(err)
    assert aliases.current(fresh, NAME) == {"champion": one}


def test_flows_that_meet_leave_one_champion_and_decide_anew(fresh, folder):
    first, *others = [made(fresh, GOOD) for _ in range(4)]
    fresh.set_registered_model_alias(NAME, "champion", first)
    crowd = [started(folder, "promote", number) for number in others]
    for process in crowd:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    entries = aliases.audit(fresh, NAME, 3)
    assert {entry.changes["champion"][1] for entry in entries} == set(others)
    for later, earlier in pairwise(entries):
        assert later.changes["champion"][0] == earlier.changes["champion"][1] == later.changes["previous"][1]
