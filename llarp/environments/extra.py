"""Packages that only some environments need, imported when one is asked for."""

import importlib
from types import ModuleType

from llarp.errors import UserError


def require(module: str, package: str, environment: str) -> ModuleType:
    """Imports a module; UserError that names the extra to install when it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"needs the package {package}", f"environment: {environment}", "pip install 'llarp[environments]'"
        ) from error
