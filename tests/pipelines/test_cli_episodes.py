"""`llarp episodes` as a user types it: every mistake with its line, exit 2; what is right, as tables."""

import re

import pytest
from typer.testing import CliRunner

from llarp.errors import UserError
from llarp.tasks.language.load import own_file
from pipelines.cli.episodes import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_projects_own_templates_are_summed_up():
    done = run("check")
    assert done.exit_code == 0
    assert re.search(r"train +\d+ +move_from_to 11", done.output)
    assert re.search(r"looks +\d+ +33 of 33", done.output)
    assert re.search(r"facts +\d+ +33 of 33", done.output)


def test_every_problem_has_its_line_and_the_exit_code_is_that_of_bad_input(tmp_path):
    path = tmp_path / "words.toml"
    text = own_file().read_text().replace("Go to the {b}.", "go to {q}", 1).replace("Move to the {b}.", " ", 1)
    path.write_text(text)
    done = run("check", path)
    lines = done.output.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["train.go_to.0", "train.go_to.1"]
    for line in lines:
        number = int(line.removeprefix(f"{path}:").split(":")[0])
        assert text.splitlines()[number - 1].strip() in ('"go to {q}",', '" ",')
    assert isinstance(done.exception, UserError)  # printed as one line with exit code 2 by the command line
    assert str(done.exception).startswith(f"{path}: 2 problems")


def test_a_file_that_adds_is_checked_with_the_projects_own(tmp_path):
    path = tmp_path / "more.toml"
    path.write_text('[train]\ngo_to = ["Kindly proceed to the {b}."]\n')
    done = run("check", path, "--adds")
    assert done.exit_code == 0 and "go_to 12" in done.output
    assert run("check", path).exit_code != 0  # alone it lacks nearly everything


def test_show_prints_what_is_asked(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    done = run("show", "--split", "knowledge", "--split", "conditional", "--count", "2")
    assert done.exit_code == 0
    headers = [line.split() for line in done.output.splitlines() if not line.startswith(" ")]
    assert [header[0] for header in headers] == [
        "knowledge-000000", "knowledge-000001", "conditional-000000", "conditional-000001",
    ]  # fmt: skip
    assert all(header[2].startswith(("knowledge.", "conditional.")) for header in headers)
    assert "EXISTS" in done.output


def test_show_refuses_an_unknown_split(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    with pytest.raises(UserError, match="no split is called 'nowledge'"):
        raise run("show", "--split", "nowledge").exception
