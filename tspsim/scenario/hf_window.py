"""The sliding window that a Hugging Face ``config.json`` asks for, if all layers have the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found

#: The keys that say which layers see how far.
KEYS = frozenset({"sliding_window", "use_sliding_window", "max_window_layers", "layer_types"})

_FULL, _SLIDING = "full_attention", "sliding_attention"
#: The type whose layers from `max_window_layers` on have a window, if that is switched on.
_SWITCHED = "qwen2"
_DIFFERING = (
    "layers that differ in their window are not modelled: all must have one or none, "
    "which model.window says for all layers"
)


def window_of(data: Mapping[str, Any]) -> int | None:
    """Return the window of every layer, or None, of a configuration without `window_problems`."""
    return data.get("sliding_window") if _layers(data) else None


def window_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what leaves open which layers have a window, and layers that differ in it."""
    window, switch = data.get("sliding_window"), data.get("use_sliding_window")
    if switch is not None and not isinstance(switch, bool):
        yield Problem(("use_sliding_window",), f"{found(switch)}; must be true or false")
    elif window is not None and (not _is_integer(window) or window < 1):
        yield Problem(("sliding_window",), f"{found(window)}; must be a positive integer or null")
    elif window is not None and switch is None and data.get("model_type") == _SWITCHED:
        message = f"{found(window)}; use_sliding_window must be true or false beside it"
        yield Problem(("sliding_window",), message)
    elif _layers(data) is None:
        key = "max_window_layers" if data.get("layer_types") is None else "layer_types"
        yield Problem((key,), f"{found(data.get(key))}; {_DIFFERING}")


def _layers(data: Mapping[str, Any]) -> bool | None:
    """Return whether all layers have the window, or none has it; None: some have."""
    types = data.get("layer_types")
    used = data.get("sliding_window") is not None and data.get("use_sliding_window") is not False
    if types is not None:
        return False if _all(types, _FULL) else True if used and _all(types, _SLIDING) else None
    if not used or data.get("model_type") != _SWITCHED:
        return used
    first, layers = data.get("max_window_layers"), data.get("num_hidden_layers")
    if not (isinstance(first, int) and isinstance(layers, int)):
        return None
    return True if first == 0 else False if first >= layers else None


def _all(types: Any, kind: str) -> bool:
    return isinstance(types, list) and all(each == kind for each in types)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
