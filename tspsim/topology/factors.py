"""``xN`` in a topology or device: N times what stands in the file that it changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tspsim.files.errors import did_you_mean
from tspsim.files.source import KeyPath

_FACTOR = re.compile(r"x((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_AMOUNT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d.+-].*?)\s*")

#: Keys whose value is a text, whatever it looks like.
_TEXTS = frozenset({"name", "kind", "file", "extends", "hf", "profile", "source"})
#: Keys that bring a whole file in: what stands there before is not changed but replaced.
NAMING = ("file", "extends")


class WrongFactorError(ValueError):
    """A factor with nothing to multiply.

    Parameters
    ----------
    path : tuple of str or int
        Of the key, from where the changes begin.
    message : str
    """

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


def factor(path: KeyPath, value: Any) -> Decimal | None:
    """Return N of a relative value ``"xN"`` for a key; None for any other value."""
    match = _FACTOR.fullmatch(value) if isinstance(value, str) else None
    return Decimal(match[1]) if match and path[-1] not in _TEXTS else None


def scaled(value: Any, times: Decimal) -> Any:
    """Return a number, a quantity, or a mapping of these, multiplied.

    Raises
    ------
    ValueError
        When it is something else.

    Examples
    --------
    >>> scaled("450 GB/s", Decimal("0.5"))
    '225 GB/s'
    >>> scaled({"bf16": "1 TFLOP/s"}, Decimal(2))
    {'bf16': '2 TFLOP/s'}
    """
    if isinstance(value, Mapping) and value:
        return {k: v if k == "source" else scaled(v, times) for k, v in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        exact = Decimal(repr(value)) * times
        whole = isinstance(value, int) and exact == exact.to_integral_value()
        return int(exact) if whole else float(exact)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no number or quantity that could be multiplied by {times}")
    exact = (Decimal(match[1]) * times).normalize()
    text = f"{exact:f}" if abs(exact.adjusted()) < 25 else str(exact)
    return f"{text} {match[2]}"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], at: KeyPath = ()) -> dict[str, Any]:
    """Return `base` with `changes`, mapping by mapping; ``xN`` multiplies what stands in `base`.

    Raises
    ------
    WrongFactorError
        When there is nothing to multiply.
    """
    result = dict(base)
    for key, value in changes.items():
        old, path = result.get(key), (*at, key)
        times = factor(path, value)
        if times is not None:
            result[key] = _times(base, times, path)
        elif _both(old, value):
            result[key] = merged(old, value, path)  # type: ignore[arg-type]
        else:
            result[key] = value
    return result


def _times(base: Mapping[str, Any], times: Decimal, path: KeyPath) -> Any:
    old, near = base.get(str(path[-1])), did_you_mean(str(path[-1]), base)
    if old is None:
        message = f"found 'x{times}', but there is nothing to multiply by it{near}"
        raise WrongFactorError(path, message)
    try:
        return scaled(old, times)
    except ValueError as error:
        raise WrongFactorError(path, str(error)) from None


def _both(old: Any, new: Any) -> bool:
    """Say whether a mapping changes another one, key by key."""
    return (
        isinstance(old, Mapping)
        and isinstance(new, Mapping)
        and not any(key in new for key in NAMING)
    )


def without_sources(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` where the sources of what `changes` changes say that it is changed.

    A figure that somebody imagines no longer comes from where the base has it from.
    """
    result = dict(base)
    own = changes.get("source")
    stated = set(own) if isinstance(own, Mapping) else set()
    for key, value in changes.items():
        old = result.get(key)
        if _both(old, value):
            result[key] = without_sources(old, value)  # type: ignore[arg-type]
        sources = result.get("source")
        if isinstance(sources, Mapping) and key in sources and key not in stated:
            result["source"] = {**sources, key: f"assumed: {value}, changed from {sources[key]}"}
        elif isinstance(sources, str) and sources and own is None and not _both(old, value):
            result["source"] = f"{sources}; assumed: {key} {value}"
    return result
