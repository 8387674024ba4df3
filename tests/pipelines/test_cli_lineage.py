import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "components"))
from lineage_project import flipped, lineage_project

from llarp.errors import UserError
from pipelines.cli.lineage import app

URI = "models:/llarp@champion"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with lineage_project(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture
def lineage(project, monkeypatch):
    """Runs `llarp lineage` in the project: (exit code, what it printed)."""
    monkeypatch.chdir(project.root)

    def run(*arguments):
        done = CliRunner().invoke(app, [*arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    return run


def test_the_tree_leads_back_to_the_first_stage(lineage):
    code, printed = lineage(URI)
    assert code == 0 and printed.startswith("models:/llarp/1 (champion)\n")
    assert re.search(r"└── register.*?├── evaluate.*?├── train.*?encoder.*?└── episodes  run", printed, re.DOTALL)
    assert printed.count("wrote data/episodes ") == 1 and "episodes  as above" in printed
    assert lineage("show", URI) == (code, printed) == lineage("show")


def test_as_data(lineage, project):
    code, printed = lineage(URI, "--json")
    found = json.loads(printed)
    assert code == 0 and found["uri"] == "models:/llarp/1" and found["aliases"] == ["champion"]
    assert found["stages"]["train"]["outs"]["data/policy"] == project.version().tags["dvc.data/policy"]
    assert found["tags"]["eval/total/success"] == "0.5000"


def test_as_a_page_that_needs_nothing_else(lineage, project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:5000")
    # The registry itself stays the one that this process has set.
    code, printed = lineage(URI, "--html", "page.html")
    page = (project.root / "page.html").read_text()
    assert code == 0 and printed == "page.html\n"
    version = project.version()
    assert (
        f'<a href="http://127.0.0.1:5000/#/experiments/{project.experiment}/runs/{version.tags["run.train"]}"' in page
    )
    assert "secret" not in page
    assert version.tags["dvc.data/policy"] in page and version.tags["model.sha256"] in page
    assert not re.search(r'(src|href)="(?!http://127\.0\.0\.1:5000/)', page) and "@import" not in page


def test_verify_says_what_matches_and_what_was_changed(lineage, project):
    code, printed = lineage("verify", URI)
    assert code == 0 and printed.splitlines()[-1].endswith("22 matches")
    name = "artifacts/policy/adapters.safetensors"
    with flipped(project.model_folder() / name):
        code, printed = lineage("verify")
        assert code == 1
        assert re.search(rf"^CHANGED +model +{name}  \(is \w+, was \w+\)$", printed, re.MULTILINE)
        code, printed = lineage("verify", "--json")
        assert code == 1 and {"model", "copy"} == {it["what"] for it in json.loads(printed) if it["state"] == "changed"}


def test_who_used(lineage, project):
    md5 = project.version().tags["dvc.data/policy"]
    assert lineage("who-used", md5[:8]) == (0, "models:/llarp/1  [champion]  dvc.data/policy\n")
    assert lineage("who-used", "data/policy")[0] == 0
    _, printed = lineage("who-used", md5, "--json")
    assert json.loads(printed) == [
        {"name": "llarp", "version": 1, "aliases": ["champion"], "how": ["dvc.data/policy"]}
    ]  # fmt: skip
    assert lineage("who-used", "0123456789") == (1, "No registered version has to do with 0123456789.\n")


def test_bad_input_is_told_in_a_line(lineage):
    for arguments in (
        ("models:/llarp@nobody",),
        ("show", "nonsense"),
        ("verify", "models:/nobody/1"),
        ("who-used", "?"),
    ):
        with pytest.raises(UserError):
            lineage(*arguments)


def test_help_lists_the_commands(lineage):
    code, printed = lineage("--help")
    assert code == 0
    assert all(name in printed for name in ("show", "verify", "who-used"))
