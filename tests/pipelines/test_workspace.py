"""Workspaces of a small project with real git and DVC."""

import os
import subprocess
import sys
import time

import pytest

from llarp.errors import UserError
from pipelines import workspace as places

PIPELINE = f"""
stages:
  copy:
    cmd: {sys.executable} -c "open('out.txt', 'w').write(open('in.txt').read())"
    deps: [in.txt]
    outs: [out.txt]
"""
HOLD = """
import sys, time
from pathlib import Path
from pipelines import workspace
with workspace.opened(Path(sys.argv[1]), "one"):
    print("held", flush=True)
    time.sleep(600)
"""


def dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def git(root, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    dvc(root, "remote", "add", "--default", "store", "../store")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "in.txt").write_text("one\n")
    (root / ".gitignore").write_text(".llarp/\n/out.txt\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_a_workspace_has_its_own_files_and_the_projects_cache(project):
    dvc(project, "repro")
    with places.opened(project, "one") as place:
        assert place.state == "made" and place.commit == git(project, "rev-parse", "HEAD")
        assert dvc(place.root, "checkout") != ""
        assert (place.root / "out.txt").read_text() == "one\n"
        assert os.stat(place.root / "out.txt").st_ino in {
            os.stat(file).st_ino for file in (project / ".dvc" / "cache" / "files").rglob("*")
        }
        assert "up to date" in dvc(place.root, "status")
        (place.root / "in.txt").write_text("two\n")
        dvc(place.root, "repro")
        assert (place.root / "out.txt").read_text() == "two\n"
    assert (project / "out.txt").read_text() == "one\n"
    assert "up to date" in dvc(project, "status")
    assert git(project, "status", "--porcelain") == "?? dvc.lock"


def test_remotes_mean_the_same_place_in_a_workspace(project):
    dvc(project, "repro")
    with places.opened(project, "one") as place:
        dvc(place.root, "checkout")
        dvc(place.root, "push")
    assert (project.parent / "store" / "files").is_dir()


def test_a_workspace_is_gone_on_with_as_it_was_left(project):
    with places.opened(project, "one") as place:
        (place.root / "half.txt").write_text("half\n")
        place.note("running")
    (project / "in.txt").write_text("two\n")
    git(project, "commit", "--quiet", "-am", "second")
    with places.opened(project, "one") as place:
        assert place.state == "running"
        assert (place.root / "half.txt").exists() and (place.root / "in.txt").read_text() == "one\n"
    with places.opened(project, "other") as place:
        assert (place.root / "in.txt").read_text() == "two\n"
    with places.opened(project, "older", "HEAD~1") as place:
        assert (place.root / "in.txt").read_text() == "one\n"


def test_one_that_was_never_finished_is_made_anew(project):
    with places.opened(project, "one") as place:
        root = place.root
    (root / ".llarp" / "workspace.json").unlink()
    (root / "in.txt").unlink()
    with places.opened(project, "one") as place:
        assert (place.root / "in.txt").exists()


def test_it_begins_with_what_the_last_good_run_left(project):
    with places.opened(project, "one") as place:
        dvc(place.root, "repro")
        places.keep_lock(project, place.paths)
    assert not (project / "dvc.lock").exists()
    with places.opened(project, "two") as place:
        dvc(place.root, "checkout")
        assert "up to date" in dvc(place.root, "status")


def test_a_second_run_in_one_workspace_is_refused_and_a_killed_one_lets_go(project, request):
    variables = {**os.environ, "PYTHONPATH": str(request.config.rootpath)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project)], env=variables, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"another run works here \(process {holder.pid}\)"),
            places.opened(project, "one"),
        ):
            pass
        with pytest.raises(UserError, match="another run works here"):
            places.remove(project, "one")
        assert places.remove_old(project, keep=0, keep_days=0) == []
    finally:
        holder.kill()
        holder.wait()
    with places.opened(project, "one") as place:
        assert place.state == "made"


def test_old_workspaces_go_and_those_that_may_be_wanted_stay(project):
    for name in ("a", "b", "c", "failed"):
        with places.opened(project, name) as place:
            place.note("failed" if name == "failed" else "completed")
        time.sleep(0.01)
    assert places.remove_old(project, keep=2) == ["a"]
    assert [each.name for each in places.all_of(project)] == ["failed", "c", "b"]
    assert sorted(places.remove_old(project, keep=0, keep_days=0)) == ["b", "c", "failed"]
    assert git(project, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a b"])
def test_names_that_could_leave_the_folder_are_refused(project, name):
    with pytest.raises(UserError, match="cannot be the name"), places.opened(project, name):
        pass


def test_an_unknown_revision_is_named(project):
    with pytest.raises(UserError, match="no revision is called 'nowhere'"), places.opened(project, "x", "nowhere"):
        pass


def test_inputs_that_git_does_not_have_are_brought(project):
    (project / "incoming").mkdir()
    (project / "incoming" / "new.parquet").write_text("x")
    with places.opened(project, "one") as place:
        places.bring(project, place, ["incoming", "nowhere"])
        assert (place.root / "incoming" / "new.parquet").read_text() == "x"
