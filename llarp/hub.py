"""Models of the Hugging Face hub at a pinned revision, read from the local cache once they have been fetched."""

import re
from pathlib import Path

from llarp.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name could be a model's on the hub: owner/model."""
    return _HUB_ID.fullmatch(name) is not None


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash; a branch or a tag may mean something else tomorrow."""
    return _COMMIT.fullmatch(revision) is not None


def fetch(name: str, revision: str, patterns: list[str], what: str) -> Path:
    """The folder of the hub's local cache with a model's files; those that are not there yet are fetched.

    Args:
        name: owner/model.
        revision: of the model's repository.
        patterns: of the files' names; no others are fetched.
        what: what the model is for, for errors.

    Raises:
        UserError: the model, its revision or the network is not to be had.

    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # network, unknown name, gated, malformed name
        raise UserError(
            f"cannot be fetched: {error}",
            f"{what} {name} at revision {revision}",
            "check name, revision and network, or give the path of a local model",
        ) from error
