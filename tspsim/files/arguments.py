"""Arguments of public functions: what is none that was annotated is refused in a sentence."""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    Any,
    Literal,
    ParamSpec,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)  # fmt: skip

from tspsim.files.errors import ArgumentError, did_you_mean
from tspsim.files.faults import found, one

P = ParamSpec("P")
T = TypeVar("T")

#: What numbers are: those of NumPy, too.
_NUMBERS = {int: Integral, float: Real}
#: What a kind of value is called in messages.
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "True or False",
    NoneType: "None", Mapping: "a mapping",
}  # fmt: skip


def checked(function: Callable[P, T], name: str = "") -> Callable[P, T]:
    """Return a function that refuses what does not suit its annotations, before it does anything.

    The refusal is an `ArgumentError`: it names the argument, what was found, and what is allowed.
    Texts of which any number may follow (``*changes``) are refused by what reads them.

    Parameters
    ----------
    function : callable
    name : str, optional
        What messages call it; its own name when not given.
    """
    signature = inspect.signature(function)
    called_so = name or function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            told = _unbound(list(signature.parameters), args, kwargs, error)
            raise ArgumentError(f"{called_so}: {told}") from None
        for argument, value, hint in _each(signature, given, _hints(function)):
            if not fits(value, hint):
                told = f"{found(value)}; must be {words(hint)}"
                raise ArgumentError(f"{called_so}: {argument}: {told}")
        return function(*args, **kwargs)

    return called


def _each(
    signature: inspect.Signature, given: Mapping[str, Any], hints: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield every argument with its name and its annotation."""
    for name, value in given.items():
        hint = hints.get(name, Any)
        if signature.parameters[name].kind is not inspect.Parameter.VAR_POSITIONAL:
            yield name, value, hint
        elif hint is not str:
            yield from ((name, each, hint) for each in value)


def _unbound(
    known: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], error: TypeError
) -> str:
    """Return what is said of arguments that are missing, too many or unknown."""
    unknown = next((name for name in kwargs if name not in known), None)
    if unknown is None:
        return f"{error}; takes: {', '.join(name for name in known if name != 'self')}"
    left = known[len(args) :]
    guess = did_you_mean(unknown, left)
    return f"unknown argument '{unknown}'{guess}; known: {', '.join(left) or 'none'}"


@functools.cache
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations of what a function takes, read."""
    stated = {name: each for name, each in function.__annotations__.items() if name != "return"}
    known = _Names(vars(builtins) | inspect.unwrap(function).__globals__)
    return get_type_hints(SimpleNamespace(__annotations__=stated), known, known)


class _Names(dict[str, Any]):
    """Names of a module; those that only type checkers import stand for classes of that name."""

    def __missing__(self, name: str) -> type:
        return type(name, (_Named,), {})


class _Named:
    """A class that is known by its name alone."""


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation allows."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return _is_list(value) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is Sequence:
        return _is_list(value) and all(fits(each, inner[0]) for each in value)
    return hint is Any or _is_one(value, origin or hint)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_one(value: object, kind: type) -> bool:
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    if issubclass(kind, _Named):
        return any(each.__name__ == kind.__name__ for each in type(value).__mro__)
    return isinstance(value, kind)


def words(hint: Any) -> str:
    """Return an annotation in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        *first, last = dict.fromkeys(map(words, inner))
        return f"{', '.join(first)} or {last}" if first else last
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple:
        return f"({', '.join(map(words, inner))})"
    if origin is Sequence:
        return f"a list, each {words(inner[0])}"
    kind = origin or hint
    return _WORDS.get(kind) or one(kind.__name__)
