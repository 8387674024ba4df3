"""Passwords, made on the first start; and files that nobody else may read."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from llarp.errors import UserError
from llarp.files import file_aside

NAMES = ("postgres", "mlflow", "prefect", "s3_key", "s3_secret")
"""Of the database's owner, of the role of each server, of the objects."""


def write_private(path: Path, variables: Mapping[str, str]) -> None:
    """Writes lines KEY=VALUE, which a shell can source, into a file that only its owner can read."""
    with file_aside(path) as aside, os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in variables.items())


def read_private(path: Path) -> dict[str, str]:
    """What `write_private` wrote."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def passwords(path: Path, has_data: bool) -> dict[str, str]:
    """The passwords by `NAMES`: letters and digits alone, safe in a URL and in a shell.

    Args:
        path: file that keeps them.
        has_data: whether there is a database already, which new passwords would not open.

    Raises:
        UserError: the file is gone, or other users can read it.

    """
    if path.exists():
        if path.stat().st_mode & 0o077:
            raise UserError("other users can read it", path, f"chmod 600 {path}")
        known = read_private(path)
        if missing := [name for name in NAMES if name not in known]:
            raise UserError(f"lacks {', '.join(missing)}", path, "bring it back from a backup")
        return known
    if has_data:
        raise UserError("is gone, and the databases open with no other passwords", path, "bring it back from a backup")
    made = {name: secrets.token_hex(24) for name in NAMES}
    write_private(path, made)
    return made
