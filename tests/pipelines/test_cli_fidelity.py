"""`llarp simulator check` and `fit` end bad input with one line, exit code 2 and no file."""

import subprocess
import sys

import pytest


def llarp(root, cwd, *arguments):
    code = "from pipelines.cli.main import main; main()"
    command = [sys.executable, "-c", code, "simulator", *arguments]
    return subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("check", "new_scenes.pickle"), ("fit", "new_scenes.pickle", "--out", "x.json")])
@pytest.mark.parametrize("content, reason", [(None, "no such file"), (b"no pickle", "is no whole pickle")])
def test_a_missing_or_damaged_file(request, tmp_path, arguments, content, reason):
    if content is not None:
        (tmp_path / "new_scenes.pickle").write_bytes(content)
    done = llarp(request.config.rootpath, tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert reason in done.stderr and not (tmp_path / "x.json").exists()
