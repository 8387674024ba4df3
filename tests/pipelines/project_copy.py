"""A copy of the project to run, with a git repository of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PARTS = (
    "llarp",
    "components",
    "pipelines",
    "presets",
    "incoming",
    "yours",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
)


class Project:
    """A clone of the working tree, with a git repository of its own."""

    def __init__(self, source: Path, root: Path, variables: dict[str, str], parts: tuple[str, ...] = PARTS) -> None:
        self.root = root
        ours = ("MLFLOW_TRACKING_URI", "PREFECT_HOME", "GIT_DIR")
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        self.variables = {**kept, "PYTHONPATH": str(root), **variables}
        for part in (*parts, "params.yaml", "pyproject.toml", "constraints.txt"):
            target = root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if (source / part).is_dir():
                shutil.copytree(source / part, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source / part, target)
        self.run("git", "init", "--quiet")
        self.commit("first")

    def commit(self, message: str) -> None:
        """Commits all that is there."""
        self.run("git", "add", ".")
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        self.run("git", *identity, "commit", "--quiet", "-m", message)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a program in the project."""
        done = subprocess.run(
            command, cwd=self.root, env=self.variables, capture_output=True, text=True, check=False, timeout=500
        )
        assert not check or done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done

    def python(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs this Python in the project."""
        return self.run(sys.executable, *arguments, check=check)

    def llarp(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line."""
        return self.python("-m", "pipelines.cli", *arguments, check=check)
