"""Finds and loads templates: the project's own, and those that a lab adds."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from llarp.errors import UserError
from llarp.scenes.extension import file
from llarp.tasks.language.reader import read
from llarp.tasks.language.templates import Language


def own_file() -> Path:
    """The templates that come with the project."""
    return Path(str(files("llarp.tasks.language").joinpath("templates.toml")))


@cache
def language() -> Language:
    """The language of the templates that come with the project, and of those that a lab adds."""
    added = file("templates.toml")
    return load(own_file(), *([added] if added else []))


def load(*paths: Path) -> Language:
    """Reads and checks templates: one file, and others that add to it; UserError with the first problem's line."""
    found, problems = read(*paths)
    if problems:
        first, *more = problems
        others = f" (and {len(more)} more: `llarp episodes check {first.path}` lists all)" if more else ""
        raise UserError(
            f"{first.key}: {first.what}" if first.key else first.what, f"{first.path}:{first.line}", first.do + others
        )
    assert found is not None
    return found
