"""Parameters of which any may be left out, typed: what Prefect's UI shows as a form, and refuses when it is wrong."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, create_model

from llarp.config import Params, Section


def partial(kind: type[BaseModel]) -> type[Section]:
    """The same sections, keys, ranges and descriptions, none of them required.

    Args:
        kind: a model whose fields may be models themselves.

    """
    fields: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = partial(annotation)
        elif field.metadata:
            annotation = Annotated[annotation, *field.metadata]
        fields[name] = (annotation | None, Field(None, alias=field.alias, description=field.description))
    return create_model(f"Some{kind.__name__}", __base__=Section, __doc__=kind.__doc__, **fields)


if TYPE_CHECKING:
    Overrides = Section
else:
    Overrides = partial(Params)


def given(overrides: Section | None) -> dict[str, Any]:
    """Dotted keys to values of those that were given; null counts as given, and a mapping is one value."""
    if overrides is None:
        return {}
    found: dict[str, Any] = {}
    for name, value in overrides.model_dump(by_alias=True, exclude_unset=True).items():
        found |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as sections: what `Overrides` takes."""
    sections: dict[str, Any] = {}
    for key, value in values.items():
        *places, last = key.split(".")
        section = sections
        for place in places:
            section = section.setdefault(place, {})
        section[last] = value
    return sections
