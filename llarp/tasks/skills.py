"""The 70 discrete actions: each a parameterised skill (arXiv 2310.17722, section 4)."""

from dataclasses import dataclass

from llarp.scenes import catalog
from llarp.scenes.catalog import CATEGORIES, FRIDGE_HANDLE, HANDLES, NAV_TARGETS, RECEPTACLES
from llarp.tasks.own_skills import own_skills


@dataclass(frozen=True)
class Skill:
    """One action; `str(skill)` and `parse` are inverses."""

    verb: str
    """nav, pick, place, open_fridge, close_fridge, open_cab or close_cab."""
    target: str | None = None
    """A navigation target, category, receptacle or drawer handle; None for the fridge's two skills."""

    def __str__(self) -> str:
        return f"{self.verb}({self.target or ''})"

    @property
    def subject(self) -> str:
        """The target, or the fridge's handle, which the fridge's two skills do not name."""
        return self.target or FRIDGE_HANDLE


DRAWER_HANDLES: tuple[str, ...] = tuple(entry.id for entry in HANDLES if entry.id != FRIDGE_HANDLE)

SKILLS: tuple[Skill, ...] = (
    *(Skill("nav", target) for target in NAV_TARGETS),
    *(Skill("pick", entry.id) for entry in CATEGORIES),
    *(Skill("place", entry.id) for entry in RECEPTACLES),
    Skill("open_fridge"),
    Skill("close_fridge"),
    *(Skill("open_cab", handle) for handle in DRAWER_HANDLES),
    *(Skill("close_cab", handle) for handle in DRAWER_HANDLES),
    *(Skill(own.verb, target) for own in own_skills().values() for target in own.targets),
)
"""The action space: an action is an index into this tuple."""

NAMES: tuple[str, ...] = tuple(map(str, SKILLS))
"""The actions' names, as a trained policy keeps them."""
INDEX: dict[Skill, int] = {skill: index for index, skill in enumerate(SKILLS)}
_BY_TEXT: dict[str, Skill] = {str(skill): skill for skill in SKILLS}


def parse(text: str) -> Skill:
    """The skill that prints as `text`; ValueError when there is none."""
    try:
        return _BY_TEXT[text]
    except KeyError:
        raise ValueError(f"no skill prints as {text!r}") from None


def words(skill: Skill) -> str:
    """A skill as one would say it."""
    if skill.verb == "nav":
        handles = {handle.id: f"{handle.words} handle" for handle in HANDLES}
        return f"go to {handles.get(skill.target or '') or catalog.receptacle(skill.target or '').words}"
    if skill.verb == "pick":
        return f"pick {catalog.category(skill.target or '').words}"
    if skill.verb == "place":
        receptacle = catalog.receptacle(skill.target or "")
        return f"put {'into' if receptacle.handle else 'on'} {receptacle.words}"
    if skill.verb in own_skills():
        return f"{skill.verb} {skill.target}".replace("_", " ")
    action = skill.verb.split("_")[0]
    return f"{action} {catalog.handle(skill.target).words if skill.target else 'fridge'}"
