"""A source of data for MLflow: a path under DVC's control at a git revision.

MLflow finds the class through the entry point `mlflow.dataset_source` in pyproject.toml.
"""

from typing import Any

from mlflow.data.dataset_source import DatasetSource


class DVCSource(DatasetSource):
    """What `mlflow.data.get_source` gives for a dataset that a stage has logged."""

    def __init__(self, path: str, md5: str, rev: str, repo: str = ".") -> None:
        """Args:
        path: file or folder in the repository.
        md5: DVC's hash of it.
        rev: git revision whose code wrote it.
        repo: the repository's folder or address.
        """
        self.path, self.md5, self.rev, self.repo = path, md5, rev, repo

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, destination: str | None = None) -> str:
        """Fetches the data as the revision's dvc.lock records it; returns the path of the copy."""
        import tempfile
        from pathlib import Path

        from dvc.repo import Repo

        out = destination or str(Path(tempfile.mkdtemp(prefix="llarp-")) / Path(self.path).name)
        Repo.get(self.repo, self.path, out=out, rev=self.rev)
        return out

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> "DVCSource":
        raise NotImplementedError("a path alone does not say which version is meant")

    def to_dict(self) -> dict[str, str]:
        """What is stored with the run."""
        return {"path": self.path, "md5": self.md5, "rev": self.rev}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "DVCSource":
        """The source that `to_dict` described."""
        return cls(source_dict["path"], source_dict["md5"], source_dict["rev"])
