"""Frozen weights that a version was made with and does not hold: found on this machine and hashed again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llarp import hub
from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision.vit_folder import WEIGHTS

_CHECKPOINT = "pytorch_model.bin"
"""Of VC-1; it is hashed and never read."""


def backbone_sha256(identity: Mapping[str, Any]) -> str | None:
    """Digest of a backbone's weights, as `Identity.sha256`; None when they are not here. Fetches nothing.

    Args:
        identity: `name`, and `revision` of a model of the hub.

    """
    from llarp.policy import decoder, minilm

    name, revision = str(identity.get("name")), identity.get("revision")
    try:
        if name == minilm.NAME:
            weights = minilm.folder() / WEIGHTS
            return sha256(weights) if weights.is_file() else None
        folder = Path(name) if Path(name).is_dir() else _snapshot(name, revision)
        return decoder.weights_sha256(folder) if folder is not None else None
    except UserError:
        return None


def encoder_sha256(provenance: Mapping[str, Any], params: Mapping[str, Any]) -> str | None:
    """Digest of the file that an encoder was converted from; None when it is not here. Fetches nothing.

    Args:
        provenance: `source` and `revision`.
        params: of the pipeline under their dotted keys: they name local files.

    """
    source = str(provenance.get("source")).split("@")[0]
    folders = [Path(str(params.get("vision.encoder")))]
    if (snapshot := _snapshot(source, provenance.get("revision"))) is not None:
        folders.append(snapshot)
    files = [folder / name for folder in folders for name in (WEIGHTS, _CHECKPOINT)]
    if params.get("vision.weights"):
        files.insert(0, Path(str(params["vision.weights"])))
    return next((sha256(file) for file in files if file.is_file()), None)


def _snapshot(name: str, revision: str | None) -> Path | None:
    """Folder of a model in the hub's local cache."""
    if revision is None or not hub.is_hub_id(name):
        return None
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None
