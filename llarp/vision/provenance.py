"""Where an encoder's weights come from, and under which licence they may be used."""

import re
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
"""Licence that nothing here tells."""
_FRONT_MATTER = re.compile(r"---\s*\n(.*?\n)---\s*(\n|$)", re.DOTALL)


@dataclass(frozen=True)
class Provenance:
    """Of an encoder's weights; it goes with them into `encoder.json`, MLflow and the registered model."""

    source: str
    """Such as facebook/vc1-base@<commit>, or the name of a local file."""
    sha256: str
    """Of the file that the weights were read from; empty when they were trained here."""
    licence: str
    """Its SPDX name, or as the model card spells it; `own` or `unknown`."""

    def tags(self) -> dict[str, str]:
        """What MLflow is told of it; no value is empty."""
        return {
            "encoder.source": self.source,
            "encoder.licence": self.licence,
            "encoder.sha256": self.sha256 or "none",
        }

    @property
    def notice(self) -> str:
        """The line that tells whoever uses the encoder."""
        line = f"Encoder: {self.source}; licence: {self.licence}"
        if "-nc" in self.licence.lower():
            line += " (not for commercial use; vc1-large-permissive is MIT)"
        elif self.licence == UNKNOWN:
            line += " (ask whoever made the weights before using them)"
        return f"{line}."


OWN = Provenance("mae-tiny, trained here", "", "own")
"""Of weights that were trained on the simulator's own frames."""


def licence_of(folder: Path) -> str:
    """What `license:` in the front matter of a folder's model card (README.md) says; `unknown` when it does not."""
    import yaml

    try:
        front = _FRONT_MATTER.match((folder / "README.md").read_text(encoding="utf-8"))
        values = yaml.safe_load(front[1]) if front else None
    except (OSError, ValueError, yaml.YAMLError):
        return UNKNOWN
    if not isinstance(values, dict):
        return UNKNOWN
    licence = values.get("license")
    if licence == "other":  # the hub's word for a licence of its own, whose name stands in the next key
        licence = values.get("license_name") or licence
    return " ".join(licence.split()) if isinstance(licence, str) and licence.strip() else UNKNOWN
