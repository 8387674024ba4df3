"""Skills that a lab adds: `skills.py` in its extension's folder (see docs/yours.md) says what each needs and does."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from llarp.errors import UserError
from llarp.scenes.extension import file

FILE = "skills.py"
RESERVED: frozenset[str] = frozenset(
    {"nav", "pick", "place", "open_fridge", "close_fridge", "open_cab", "close_cab"}
)  # fmt: skip


@dataclass(frozen=True)
class OwnSkill:
    """One verb and what it can be done to. The world is a `llarp.sim.rules.RuleWorld`."""

    verb: str
    targets: tuple[str, ...]
    """One action of the action space each."""
    is_valid: Callable[[Any, str], bool]
    """Whether it can be done now: world, target."""
    apply: Callable[[Any, str], None]
    """Does it: world, target. Only called when it is valid."""


@cache
def own_skills() -> dict[str, OwnSkill]:
    """Verb to skill; empty without an extension. UserError when the file fails or says what cannot be."""
    path = file(FILE)
    if path is None:
        return {}
    spec = importlib.util.spec_from_file_location("llarp_own_skills", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = {own.verb: own for own in module.SKILLS}
    except Exception as error:
        raise UserError(f"fails: {type(error).__name__}: {error}", path, "it must define SKILLS, a list") from error
    for verb, own in found.items():
        if verb in RESERVED or not verb.isidentifier() or not own.targets:
            raise UserError(f"{verb!r} is no verb of one's own with targets", path, "rename it, or give it targets")
    return found
