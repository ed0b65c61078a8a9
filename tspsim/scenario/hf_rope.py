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
from tspsim.scenario.hf_keys import unknown

#: The objects.
KEYS = frozenset({"rope_parameters", "rope_scaling"})

#: Constants of the table of angles, which is computed once.
_HARMLESS = frozenset({
    "attention_factor", "beta_fast", "beta_slow", "factor", "finetuned", "high_freq_factor",
    "long_factor", "long_mscale", "low_freq_factor", "mscale", "mscale_all_dim",
    "original_max_position_embeddings", "rope_theta", "short_factor", "short_mscale", "truncate",
})  # fmt: skip
_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "su", "llama3")
_LAYERS = frozenset({"full_attention", "sliding_attention"})


def rope_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for everything that turns more, less or otherwise than whole heads."""
    for key in sorted(KEYS):
        if data.get(key) is not None:
            yield from _of((key,), data[key])


def _of(place: KeyPath, given: Any) -> Iterator[Problem]:
    if not isinstance(given, Mapping):
        yield Problem(place, f"{found(given)}; must be an object or null")
        return
    for key, value in given.items():
        here = (*place, key)
        if value is None or key in _HARMLESS:
            continue
        if key in _LAYERS:
            yield from _of(here, value)
        elif key in ("rope_type", "type"):
            yield from _type_problems(here, value)
        elif key == "partial_rotary_factor":
            yield from _part_problems(here, value)
        else:
            yield unknown(here, value)


def _type_problems(place: KeyPath, value: Any) -> Iterator[Problem]:
    if value not in _TYPES:
        meant = did_you_mean(value, _TYPES) if isinstance(value, str) else ""
        yield Problem(place, f"{found(value)}; must be null or one of {', '.join(_TYPES)}{meant}")


def _part_problems(place: KeyPath, value: Any) -> Iterator[Problem]:
    if isinstance(value, bool) or value != 1:
        message = "rotary positions on a part of each head: not modelled"
        yield Problem(place, f"{found(value)} ({message}); must be null or 1, to turn whole heads")
