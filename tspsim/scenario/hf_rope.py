"""What a Hugging Face ``config.json`` says of rotary positions: constants, or other work.

It stands in ``rope_parameters`` (transformers 5) or ``rope_scaling``, or in one such object for
each type of layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem, did_you_mean
from tspsim.files.faults import found
from tspsim.files.source import KeyPath
from tspsim.scenario.hf_keys import ROTARY, unknown

#: The objects.
KEYS = frozenset({"rope_parameters", "rope_scaling"})

#: Constants of the table of angles, which is computed once.
_HARMLESS = frozenset({
    "attention_factor", "beta_fast", "beta_slow", "factor", "finetuned", "high_freq_factor",
    "long_factor", "long_mscale", "low_freq_factor", "mscale", "mscale_all_dim",
    "original_max_position_embeddings", "rope_theta", "short_factor", "short_mscale", "truncate",
})  # fmt: skip
_PART = "partial_rotary_factor"
#: The keys beside them that say how much of a head is turned.
PARTS = frozenset({_PART})
_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "su", "llama3")
_LAYERS = frozenset({"full_attention", "sliding_attention"})


def rope_problems(data: Mapping[str, Any], *, partial: bool = False) -> Iterator[Problem]:
    """Yield a problem for everything that turns more, less or otherwise than whole heads.

    A family's own part of them may be turned, which `rotary_of` reads.
    """
    for key in sorted(KEYS):
        if data.get(key) is not None:
            yield from _of((key,), data[key], partial=partial)


def rotary_problems(data: Mapping[str, Any], head_dim: int) -> Iterator[Problem]:
    """Yield a problem when the part of a head that is turned is none, or no pairs."""
    place, value = _part(data)
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
    if not number:
        yield Problem(place, f"{found(value)}; must be null or a number above 0, of at most 1")
    elif int(head_dim * value) % 2 or not int(head_dim * value):
        yield Problem(place, f"{found(value)}; of {head_dim} elements it must make an even number")


def rotary_of(data: Mapping[str, Any], head_dim: int) -> int | None:
    """Return how many elements of a head are turned, None: all; see `rotary_problems`."""
    turned = int(head_dim * _part(data)[1])
    return None if turned == head_dim else turned


def _part(data: Mapping[str, Any]) -> tuple[KeyPath, Any]:
    """Return the part of a head that is turned, and where it stands."""
    places = [(_PART,), *((key, _PART) for key in sorted(KEYS))]
    for place in places:
        inner = data.get(place[0]) if len(place) > 1 else data
        if isinstance(inner, Mapping) and inner.get(_PART) is not None:
            return place, inner[_PART]
    return (_PART,), 1.0


def _of(place: KeyPath, given: Any, *, partial: bool) -> Iterator[Problem]:
    if not isinstance(given, Mapping):
        yield Problem(place, f"{found(given)}; must be an object or null")
        return
    for key, value in given.items():
        here = (*place, key)
        if value is None or key in _HARMLESS:
            continue
        if key in _LAYERS:
            yield from _of(here, value, partial=partial)
        elif key in ("rope_type", "type"):
            yield from _type_problems(here, value)
        elif key == _PART:
            yield from () if partial else _part_problems(here, value)
        else:
            yield unknown(here, value)


def _type_problems(place: KeyPath, value: Any) -> Iterator[Problem]:
    if value not in _TYPES:
        meant = did_you_mean(value, _TYPES) if isinstance(value, str) else ""
        yield Problem(place, f"{found(value)}; must be null or one of {', '.join(_TYPES)}{meant}")


def _part_problems(place: KeyPath, value: Any) -> Iterator[Problem]:
    if isinstance(value, bool) or value != 1:
        message = "rotary positions on a part of each head: not modelled"
        yield Problem(place, f"{found(value)} ({message}); {ROTARY}")
