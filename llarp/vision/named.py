"""The encoder that `vision.encoder` names: VC-1, or a ViT of a folder or of the hub.

Whatever comes from the hub comes from a pinned revision. VC-1's files are pickles, so they are not even parsed before
their sha256 is the one that the parameters give. Neither revisions nor digests are known here: whoever fetches a file
looks at what they fetch.
"""

from pathlib import Path
from typing import NamedTuple

from llarp import hub
from llarp.config import VisionConfig
from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision.encoder import ViTEncoder, load_encoder
from llarp.vision.provenance import Provenance
from llarp.vision.vc1 import BASE, LARGE, Shape, load_vc1
from llarp.vision.vit_folder import WEIGHTS

_OWNER = "facebook"
_CHECKPOINT = "pytorch_model.bin"
_VIT_FILES = ["config.json", WEIGHTS, "preprocessor_config.json", "README.md"]
"""What is fetched of a ViT: never code, never pickles."""


class VC1(NamedTuple):
    """A checkpoint of VC-1."""

    shape: Shape
    licence: str


NAMED = {
    "vc1-base": VC1(BASE, "CC-BY-NC-4.0"),
    "vc1-large": VC1(LARGE, "CC-BY-NC-4.0"),
    "vc1-large-permissive": VC1(LARGE, "MIT"),
}
"""By name in `vision.encoder` and, of the same owner, on the hub."""


def named_encoder(config: VisionConfig) -> ViTEncoder:
    """Reads what `vision.encoder` names, from this machine or from the hub; all but `mae-tiny`, which is trained.

    Raises:
        UserError: nothing has that name, a pin is missing or another file is found than it tells, or the model does
            not fit.

    """
    if config.encoder in NAMED:
        return _vc1(config)
    if config.weights is not None:
        raise UserError(
            f"is read for {', '.join(NAMED)} alone, not for {config.encoder}",
            "vision.weights",
            "make it null; vision.encoder names a ViT's folder itself",
        )
    folder, source = Path(config.encoder), None
    if not folder.is_dir():
        if not hub.is_hub_id(config.encoder):
            raise UserError(
                "is neither a known encoder, nor a folder, nor a hub id",
                f"vision.encoder={config.encoder}",
                f"give mae-tiny, {', '.join(NAMED)}, a ViT's folder, or owner/model",
            )
        revision = _revision(config, config.encoder)
        source = f"{config.encoder}@{revision}"
        folder = hub.fetch(config.encoder, revision, _VIT_FILES, "encoder")
    if config.sha256 is not None and (folder / WEIGHTS).is_file():
        _check_sha256(folder / WEIGHTS, config.sha256)
    return load_encoder(folder, config.output, source)


def _vc1(config: VisionConfig) -> ViTEncoder:
    shape, licence = NAMED[config.encoder]
    if config.weights is not None:
        path, source = Path(config.weights), f"{config.encoder} from {Path(config.weights).name}"
    else:
        repository = f"{_OWNER}/{config.encoder}"
        revision = _revision(config, repository)
        if config.sha256 is None:
            raise UserError(
                f"is missing: {_CHECKPOINT} of {repository} is a pickle, and is not read before it has been checked",
                "vision.sha256",
                f"copy it from the page of the file at huggingface.co/{repository}/tree/{revision}, or name a file "
                "that you have checked as vision.weights",
            )
        source = f"{repository}@{revision}"
        path = hub.fetch(repository, revision, [_CHECKPOINT], "encoder") / _CHECKPOINT
    try:
        found = sha256(path) if config.sha256 is None else _check_sha256(path, config.sha256)
    except OSError as error:
        where = "vision.weights" if config.weights is not None else source
        raise UserError(
            f"{path} cannot be read ({error.strerror})", where, "name the file of VC-1's checkpoint"
        ) from error
    return load_vc1(path, config.output, shape, Provenance(source, found, licence))


def _revision(config: VisionConfig, repository: str) -> str:
    """The commit that the parameters pin."""
    do = f"give the full commit hash of 40 digits, which huggingface.co/{repository}/commits/main shows"
    if config.revision is None:
        raise UserError(f"is missing, and {repository} is a model of the hub", "vision.revision", do)
    if not hub.is_commit(config.revision):
        raise UserError(f"{config.revision!r} pins nothing: it may mean another model tomorrow", "vision.revision", do)
    return config.revision


def _check_sha256(path: Path, wanted: str) -> str:
    """The file's digest; UserError when it is another than the parameters give."""
    found = sha256(path)
    if found != wanted.lower():
        raise UserError(
            f"its sha256 is {found}, not the {wanted} of vision.sha256",
            path,
            "fetch the file again, or correct vision.sha256 (`sha256sum` tells it) if the change is wanted",
        )
    return found
