"""The stages as DVC has them: their order, and which are stale and why. Nothing of dvc.yaml is written again here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.paths import Paths
from llarp.errors import UserError

if TYPE_CHECKING:
    from dvc.repo import Repo

State = Literal["up to date", "stale", "follows"]


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml."""

    name: str
    upstream: tuple[str, ...]
    """Stages whose outputs it reads."""
    outs: tuple[str, ...] = ()
    """Paths that it writes, without the link to its tracked run."""
    reads: tuple[str, ...] = ()
    """Paths that it reads and other stages write."""
    needs_accelerator: bool = False
    """Whether it computes for long, on an accelerator where there is one; dvc.yaml says so under `meta`."""


@dataclass(frozen=True)
class Step:
    """What is to become of a stage."""

    stage: str
    state: State
    """`follows`: fresh as things are, but a stage before it will run and may change what it reads."""
    why: str


class Graph:
    """DVC's graph of one project."""

    def __init__(self, root: str | Path = ".") -> None:
        """UserError when the folder is no DVC project, or dvc.yaml cannot be read."""
        self.root = Path(root)
        with self._repo() as repo:
            self.stages = tuple(_ordered(repo))

    def why_stale(self, name: str) -> str | None:
        """What has changed for a stage since it last ran; None when it is up to date."""
        with self._repo() as repo:
            return _reasons(repo, name)

    def plan(self) -> list[Step]:
        """A step for every stage, in the order of running."""
        steps: list[Step] = []
        to_run: set[str] = set()
        with self._repo() as repo:
            for stage in self.stages:
                before = [name for name in stage.upstream if name in to_run]
                if reasons := _reasons(repo, stage.name):
                    steps.append(Step(stage.name, "stale", reasons))
                elif before:
                    steps.append(Step(stage.name, "follows", f"if {' or '.join(before)} writes something else"))
                else:
                    steps.append(Step(stage.name, "up to date", ""))
                    continue
                to_run.add(stage.name)
        return steps

    @contextmanager
    def _repo(self) -> "Iterator[Repo]":
        """Opened anew each time, as other processes change dvc.lock."""
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            with Repo(str(self.root), _wait_for_lock=True) as repo:
                yield repo
        except DvcException as error:
            raise UserError(f"DVC cannot read the project: {error}", self.root.resolve(), "see `dvc status`") from error


def _ordered(repo: "Repo") -> Iterator[Stage]:
    """Every stage after those whose outputs it reads; as in dvc.yaml where that leaves a choice."""
    import networkx as nx

    graph = repo.index.graph  # edges point from a stage to the stages before it
    place = {stage: number for number, stage in enumerate(repo.index.stages)}
    written = {out.def_path for stage in repo.index.stages for out in stage.outs}
    for stage in nx.lexicographical_topological_sort(graph.reverse(), key=place.__getitem__):
        link = Paths().run(stage.name).as_posix()
        yield Stage(
            stage.name,
            tuple(before.name for before in graph.successors(stage)),
            tuple(out.def_path for out in stage.outs if out.def_path != link),
            tuple(dep.def_path for dep in stage.deps if dep.def_path in written),
            bool((stage.meta or {}).get("accelerator")),
        )


def _reasons(repo: "Repo", name: str) -> str | None:
    """DVC's status of one stage in words."""
    from dvc.repo import lock_repo

    # By its name within this project: DVC's own look-up by name begins in the current folder.
    stage = next(stage for stage in repo.index.stages if stage.name == name)
    with lock_repo(repo):
        changes = next(iter(stage.status(check_updates=True).values()), None)
    if not changes:
        return None
    if not any(out.hash_info for out in stage.outs):
        return "never run"
    return "; ".join(_words(change) for change in changes)


def _words(change: str | Mapping[str, Any]) -> str:
    if isinstance(change, str):
        return change  # such as "changed command"
    return ", ".join(_entry(path, state) for entries in change.values() for path, state in entries.items())


def _entry(path: str, state: str | Mapping[str, str]) -> str:
    """`data/policy deleted`; of params.yaml the keys: `train.lr modified`."""
    if isinstance(state, str):
        return f"{path} {state}"
    return ", ".join(f"{key} {how}" for key, how in state.items())
