"""JSON files of an encoder's folder."""

import json
from pathlib import Path
from typing import Any

from llarp.errors import UserError


def read_json(path: Path, do: str) -> dict[str, Any]:
    """The object that a file holds; UserError, with what to do, when it is missing or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, do) from error
    except ValueError as error:
        raise UserError(f"is no JSON: {error}", path, do) from error
    if not isinstance(values, dict):
        raise UserError("holds no JSON object", path, do)
    return values
