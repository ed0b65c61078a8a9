"""What Python may state for the keys of a form: types, defaults and descriptions, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from keyword import iskeyword
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tspsim.files.units import Physical
from tspsim.topology.forms import FromFile

#: The class that Python has for a form, by its name; of others only mappings.
Names = Mapping[type[BaseModel], str]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section.

    Parameters
    ----------
    name : str
        As Python writes it: ``from_`` for ``from``.
    types : tuple of str
        Any of them, such as ``"int"``.
    default : object
        `Ellipsis` where Python cannot say it in a word.
    description : str
    required : bool
        It has to be stated.
    """

    name: str
    types: tuple[str, ...]
    default: Any
    description: str
    required: bool = False

    @property
    def text(self) -> str:
        """Its types, as they are written."""
        words = [each[len("Literal[") : -1] for each in self.types if each.startswith("Literal[")]
        rest = [each for each in self.types if not each.startswith("Literal[")]
        rest.sort(key="None".__eq__)  # it stands last
        return " | ".join([f"Literal[{', '.join(words)}]", *rest] if words else rest)

    def joined(self, other: Key) -> Key:
        """Return the key of two forms that both have it."""
        types = tuple(dict.fromkeys((*self.types, *other.types)))
        default = self.default if self.default == other.default else ...
        required = self.required and other.required
        return Key(self.name, types, default, self.description or other.description, required)


def keys_of(form: type[BaseModel], names: Names) -> Iterator[Key]:
    """Yield the keys of a form, those first that have to be stated."""
    fields = form.model_fields.items()
    for name, field in sorted(fields, key=lambda item: not item[1].is_required()):
        types = tuple(dict.fromkeys(_types(Annotated[field.annotation, *field.metadata, 0], names)))
        text = field.description or _described(form, name)
        alias = field.alias or name
        name = f"{alias}_" if iskeyword(alias) else alias
        yield Key(name, types, _default(field, types), text, field.is_required())


def _default(field: FieldInfo, types: tuple[str, ...]) -> Any:
    """Return a default where it is written as what may be stated; of quantities it is no number."""
    said = field.default
    number = isinstance(said, int | float) and type(said).__name__ in types
    return said if number or said is None or isinstance(said, str) else ...


def _types(annotation: Any, names: Names) -> Iterator[str]:
    """Yield what may be stated for something annotated so."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if any(isinstance(each, Physical) for each in inner[1:]):
            yield "str"  # a number and its unit
            return
        if any(isinstance(each, FromFile) for each in inner[1:]):
            yield "str"
        yield from _types(inner[0], names)
    elif origin in (Union, UnionType):
        for each in inner:
            yield from _types(each, names)
    elif origin is Literal:
        yield f"Literal[{', '.join(map(repr, inner))}]"
    elif origin in (tuple, list):
        yield f"Sequence[{_joined((e for e in inner if e is not ...), names)}]"
    elif origin is dict:
        yield f"Mapping[str, {_joined(inner[1:], names)}]"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from (name for form, name in names.items() if issubclass(form, annotation))
        yield "Mapping[str, Any]"
    else:
        yield "None" if annotation is NoneType else getattr(annotation, "__name__", "Any")


def _joined(annotations: Any, names: Names) -> str:
    return " | ".join(dict.fromkeys(text for each in annotations for text in _types(each, names)))


def _described(form: type[BaseModel], name: str) -> str:
    """Return what the docstring of a form, or of what it is made from, says of a key."""
    for each in form.__mro__:
        text = cleandoc(each.__doc__ or "")
        found = re.search(rf"^(?:\w+, )*{name}(?:, \w+)* : .*\n((?: {{4}}.*\n?)+)", text, re.M)
        if found:
            return " ".join(line.strip() for line in found[1].splitlines())
    return ""
