import subprocess
import sys

import pytest

from llarp.errors import UserError
from pipelines.dvc_graph import Graph
from pipelines.retrain import plan_text

PIPELINE = """
stages:
  last:
    cmd: cat middle.txt > last.txt
    deps: [middle.txt]
    outs: [last.txt]
  first:
    cmd: python -c "import yaml; open('first.txt', 'w').write(str(yaml.safe_load(open('params.yaml'))['a']['x']))"
    params: [a]
    outs: [first.txt]
  middle:
    cmd: cut -c1 first.txt > middle.txt
    deps: [first.txt]
    outs: [middle.txt]
"""


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env=None)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".site"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE.replace("python", sys.executable))
    (tmp_path / "params.yaml").write_text("a: {x: 10, y: 1}\n")
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    return tmp_path


def states(graph):
    return [(step.stage, step.state) for step in graph.plan()]


def test_the_order_is_that_of_the_data_not_of_the_file(project):
    graph = Graph(project)
    assert [stage.name for stage in graph.stages] == ["first", "middle", "last"]
    assert [stage.upstream for stage in graph.stages] == [(), ("first",), ("middle",)]


def test_what_has_never_run_is_stale(project):
    assert [(step.state, step.why) for step in Graph(project).plan()] == [("stale", "never run")] * 3


def test_a_changed_parameter_is_named_and_what_comes_after_follows(project):
    dvc(project, "repro", "--quiet")
    graph = Graph(project)
    assert states(graph) == [("first", "up to date"), ("middle", "up to date"), ("last", "up to date")]

    (project / "params.yaml").write_text("a: {x: 11, y: 1}\n")
    steps = graph.plan()
    assert [(step.stage, step.state) for step in steps] == [
        ("first", "stale"),
        ("middle", "follows"),
        ("last", "follows"),
    ]
    assert steps[0].why == "a modified"
    assert "first" in steps[1].why
    assert plan_text(steps).splitlines()[0].split() == ["first", "stale", "a", "modified"]


def test_after_a_run_the_state_is_read_anew(project):
    dvc(project, "repro", "--quiet")
    graph = Graph(project)
    (project / "params.yaml").write_text("a: {x: 11, y: 1}\n")
    assert graph.why_stale("middle") is None
    dvc(project, "repro", "--quiet", "--single-item", "first")
    assert graph.why_stale("first") is None
    assert graph.why_stale("middle") == "first.txt modified"
    dvc(project, "repro", "--quiet", "--single-item", "middle")  # writes the same again
    assert graph.why_stale("last") is None


def test_a_removed_output_and_a_changed_command_are_named(project):
    dvc(project, "repro", "--quiet")
    (project / "last.txt").unlink()
    assert Graph(project).why_stale("last") == "last.txt deleted"
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("cut -c1", "cut -c1,2"))
    assert "changed command" in Graph(project).why_stale("middle")


def test_a_folder_without_a_project_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    with pytest.raises(UserError, match="DVC"):
        Graph(tmp_path)


def test_a_pipeline_that_cannot_be_read_is_refused(project):
    (project / "dvc.yaml").write_text("stages: [1\n")
    with pytest.raises(UserError, match="DVC"):
        Graph(project)
