"""Keys of a scenario as Python states them: held as they are, checked when a scenario is made."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from inspect import Parameter, Signature, cleandoc
from numbers import Integral, Real
from os import PathLike, fspath
from textwrap import fill
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, Self

from pydantic import BaseModel

from tspsim.files.arguments import checked
from tspsim.files.errors import ArgumentError
from tspsim.files.faults import found as found_so
from tspsim.files.faults import one
from tspsim.scenario.annotations import Key, keys_of

#: What is as a file would hold it.
_PLAIN = frozenset({str, int, float, bool, type(None)})
#: What names a file.
_FILE = ("str", "PathLike[str]")


class Stated:
    """What is stated of one section of a scenario; every other key has its default.

    Nothing is checked here: `tspsim.Scenario` tells everything that is wrong at once, as of a file.
    """

    #: The forms that say which keys there are; the key that a name alone stands for; the kind;
    #: whether something that is named elsewhere may hold what is not stated; other keys' type; and
    #: by key, types that are read into those of its form.
    forms: ClassVar[tuple[type[BaseModel], ...]] = ()
    named: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    partial: ClassVar[bool] = False
    others: ClassVar[str] = ""
    also: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    __slots__ = ("stated",)
    stated: Mapping[str, Any]

    def __init_subclass__(
        cls, *, forms: tuple[type[BaseModel], ...] = (), named: str = "", kind: str = "",
        partial: bool = False, others: str = "", also: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        """Take the keys of the forms, and describe them."""
        cls.forms, cls.named, cls.kind = forms, named, kind
        cls.partial, cls.others, cls.also = partial or bool(named), others, also or {}
        about = [cleandoc(cls.__doc__ or ""), "", "Parameters", "----------"]
        about += [line for key in cls.known() for line in _described(key)]
        cls.__doc__ = "\n".join(about)
        cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __init__(self, *named: Any, **keys: Any) -> None:
        if len(named) > bool(self.named):
            most = f"one name beside its keys, {self.named}" if self.named else "keys alone"
            found = ", ".join(map(repr, named))
            raise ArgumentError(f"{type(self).__name__} takes {most}; found {found}")
        stated = {"kind": self.kind} if self.kind else {}
        stated |= dict(zip([self.named], named, strict=False))
        self._hold(stated | keys)

    def _hold(self, keys: Mapping[str, Any]) -> None:
        for key, value in keys.items():
            if isinstance(value, Stated):
                self._check_class(key, value)
        plainly = {key.rstrip("_"): plain(value) for key, value in keys.items()}
        object.__setattr__(self, "stated", MappingProxyType(plainly))

    @classmethod
    def _check_class(cls, name: str, value: Stated) -> None:
        """Refuse a section that stands where another belongs: of its keys all would be wrong."""
        texts = {key.name: key.text for key in cls.known()}
        taken = re.findall(r"\w+", texts.get(name, ""))
        if name in texts and not is_one_of(value, taken):
            known = [each.__name__ for each in _below(Stated) if each.__name__ in taken]
            allowed = " or ".join(map(one, known)) or texts[name]
            raise ArgumentError(f"{cls.__name__}: {name}: {found_so(value)}; must be {allowed}")

    @classmethod
    def known(cls) -> list[Key]:
        """Return the keys that there are, a name first."""
        names = {form: each.__name__ for each in _below(Stated) for form in each.forms}
        found: dict[str, Key] = {}
        every = [{key.name: key for key in keys_of(form, names)} for form in cls.forms]
        if cls.named:
            name = Key(cls.named, _FILE, ..., "a file, or the name of a shipped one")
            found[cls.named] = replace(every[0].pop(cls.named, name), default=...)
        for key in (key for keys in every for key in keys.values()):
            found[key.name] = found[key.name].joined(key) if key.name in found else key
        if cls.kind:
            found.pop("kind", None)
        # Of several forms not all have every key.
        needed = {name for name in found if not cls.partial and all(name in keys for keys in every)}
        return [
            replace(
                key,
                required=key.required and name in needed,
                types=(*cls.also.get(name, ()), *key.types),
            )
            for name, key in found.items()
        ]

    @checked
    def replace(self, **keys: Any) -> Self:
        """Return the same with some keys stated anew."""
        changed = type(self).__new__(type(self))
        changed._hold({**self.stated, **keys})
        return changed

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; replace({name}=...) makes another")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stated):
            return NotImplemented
        return type(self) is type(other) and self.stated == other.stated

    def __hash__(self) -> int:
        return hash((type(self), frozenset(self.stated)))  # equal whatever the order of keys

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), dict(self.stated))

    def __repr__(self) -> str:
        shown = (f"{key}={value!r}" for key, value in self.stated.items() if key != self.named)
        name = [repr(self.stated[self.named])] if self.named in self.stated else []
        fixed = f"kind={self.kind!r}"
        told = [*name, *(each for each in shown if not self.kind or each != fixed)]
        return f"{type(self).__name__}({', '.join(told)})"


def is_one_of(value: Stated, names: Container[str]) -> bool:
    """Whether a section is of a class of these names, or of one made from it."""
    return any(each.__name__ in names for each in type(value).__mro__)


def plain(value: Any) -> Any:
    """Return what Python states as a file would hold it: mappings, lists, text and numbers."""
    if type(value) in _PLAIN:  # as nearly all is: sweeps read thousands of scenarios
        return value
    if isinstance(value, Stated):
        return dict(value.stated)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Integral):  # of NumPy, for example
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _again(cls: type[Stated], keys: Mapping[str, Any]) -> Stated:
    """Return what was pickled."""
    made = cls.__new__(cls)
    made._hold(keys)
    return made


def _below(cls: type[Stated]) -> Iterator[type[Stated]]:
    """Yield all classes that are made from one."""
    for each in cls.__subclasses__():
        yield each
        yield from _below(each)


def _signature(cls: type[Stated]) -> Signature:
    """Return what a class takes: a name, and keys."""
    parameters = []
    for key in cls.known():
        first = key.name == cls.named
        way = Parameter.POSITIONAL_OR_KEYWORD if first else Parameter.KEYWORD_ONLY
        default = Parameter.empty if key.required else key.default
        parameters.append(Parameter(key.name, way, default=default, annotation=key.text))
    if cls.others:
        parameters.append(Parameter("others", Parameter.VAR_KEYWORD, annotation=cls.others))
    return Signature(parameters)


def _described(key: Key) -> Iterator[str]:
    """Yield the lines of a key in a docstring."""
    yield f"{key.name} : {key.text}" + ("" if key.required else ", optional")
    if key.description:
        yield fill(key.description, 96, initial_indent="    ", subsequent_indent="    ")
