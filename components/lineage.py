"""Where results come from: git's commit, and what DVC knows of a stage and of the hashes of data."""

import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.paths import Paths

CODE = ("llarp", "components", "pipelines", "dvc.yaml", "pyproject.toml", "constraints.txt")
"""What makes a working tree dirty; params.yaml and dvc.lock are recorded by themselves."""


@dataclass(frozen=True)
class Dataset:
    """One versioned input or output of a stage."""

    path: str
    md5: str
    """DVC's hash; ends with `.dir` for a folder."""


@dataclass(frozen=True)
class Lineage:
    """Reads the project's git and DVC files; changes nothing."""

    paths: Paths

    @cached_property
    def commit(self) -> str:
        """The commit that is checked out; `unknown` outside a git repository."""
        return self._git("rev-parse", "HEAD") or "unknown"

    @cached_property
    def is_dirty(self) -> bool:
        """Whether code differs from the commit."""
        return bool(self._git("status", "--porcelain", "--", *CODE))

    def params(self, stage: str) -> list[str]:
        """The keys of params.yaml that a stage depends on."""
        return list(self._stage(stage).get("params", ()))

    def inputs(self, stage: str) -> list[Dataset]:
        """The data that a stage reads, as DVC has it."""
        deps = self._stage(stage).get("deps", ())
        return [Dataset(path, self.hashes[path]) for path in deps if path in self.hashes]

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Path -> md5 of all data that dvc.lock records."""
        stages = self._lock
        links = {self.paths.run(name).relative_to(self.paths.root).as_posix() for name in stages}
        outs = [out for stage in stages.values() for out in stage.get("outs", ()) if out["path"] not in links]
        return {out["path"]: out["md5"] for out in outs if "md5" in out}

    @property
    def stages(self) -> list[str]:
        """All that have run, as dvc.lock lists them."""
        return list(self._lock)

    def stage_lock(self, stage: str) -> dict[str, Any]:
        """What dvc.lock records of a stage; empty when it never ran."""
        return self._lock.get(stage, {})

    @cached_property
    def _lock(self) -> dict[str, Any]:
        return _yaml(self.paths.lock).get("stages", {})

    def _stage(self, stage: str) -> dict[str, Any]:
        return _yaml(self.paths.pipeline).get("stages", {}).get(stage, {})

    def _git(self, *arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=self.paths.root, capture_output=True, text=True, check=False)
        except OSError:  # no git here
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""


def _yaml(path: Path) -> dict[str, Any]:
    """A mapping; empty when there is no such file."""
    import yaml

    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
