"""The sliding windows that a Hugging Face ``config.json`` asks for, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found

#: The keys that say which layers see how far.
KEYS = frozenset({
    "sliding_window", "use_sliding_window", "max_window_layers", "layer_types",
    "sliding_window_pattern",
})  # fmt: skip

_FULL, _SLIDING = "full_attention", "sliding_attention"
#: The types whose layers from `max_window_layers` on have a window, if that is switched on; and
#: those in which the code says otherwise, so that the types of layers must be stated.
_SWITCHED = frozenset({"qwen2", "qwen3"})
_STATED = frozenset({"qwen2_moe", "qwen3_moe"})
#: The types of which every so many layers one has no window, the last of them; and their window
#: where none is stated (the defaults of their classes in transformers).
_PERIODS = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2}
_DEFAULTS = {"gemma2": 4096, "gemma3_text": 4096, "gpt_oss": 128}
#: More layers than are simulated; who has so many is told that.
_MOST = 20_000


def window_of(data: Mapping[str, Any]) -> int | list[int | None] | None:
    """Return the window of every layer of a configuration without `window_problems`, or None.

    Of layers that differ it is the shortest list that repeats itself.
    """
    windows: list[int | None] = [_window(data) if slides else None for slides in _sliding(data)]
    for period in range(1, len(windows)):
        if all(w == windows[i % period] for i, w in enumerate(windows)):
            windows = windows[:period]
            break
    return windows if len(windows) > 1 else windows[0]


def window_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what leaves open which layers have a window, and which one."""
    window, switch = _window(data), data.get("use_sliding_window")
    if switch is not None and not isinstance(switch, bool):
        yield Problem(("use_sliding_window",), f"{found(switch)}; must be true or false")
    elif window is not None and (not _is_integer(window) or window < (switch is not False)):
        yield Problem(("sliding_window",), f"{found(window)}; must be a positive integer or null")
    elif window is not None and switch is None and data.get("model_type") in _SWITCHED | _STATED:
        message = f"{found(window)}; use_sliding_window must be true or false beside it"
        yield Problem(("sliding_window",), message)
    else:
        yield from _layer_problems(data)


def _layer_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    types, layers = data.get("layer_types"), data.get("num_hidden_layers")
    if types is not None:
        yield from _type_problems(types, layers, window=_used(data))
    elif _used(data) and data.get("model_type") in _SWITCHED:
        first = data.get("max_window_layers")
        if not isinstance(first, int) or isinstance(first, bool) or first < 0:
            message = f"{found(first)}; must be the first layer with a window"
            yield Problem(("max_window_layers",), message)
    elif _used(data) and data.get("model_type") in _STATED:
        message = "found true; which layers have a window must be stated by their layer_types"
        yield Problem(("use_sliding_window",), message)
    elif data.get("model_type") in _PERIODS:
        period = data.get("sliding_window_pattern")
        if period is not None and (not _is_integer(period) or period < 1):
            message = f"{found(period)}; must be a positive integer or null"
            yield Problem(("sliding_window_pattern",), message)


def _type_problems(types: Any, layers: Any, *, window: bool) -> Iterator[Problem]:
    known, path = (_FULL, _SLIDING), ("layer_types",)
    if not isinstance(types, list) or not types:
        yield Problem(path, f"{found(types)}; must be a list of layers' types, or null")
    elif others := sorted({str(each) for each in types if each not in known}):
        message = f"found {', '.join(others)}; layers of other types than {' and '.join(known)}"
        yield Problem(path, f"{message} are not modelled")
    elif _is_integer(layers) and len(types) != layers:
        yield Problem(path, f"found {len(types)} types; there are {layers} layers")
    elif _SLIDING in types and not window:
        yield Problem(path, f"found {_SLIDING}, but sliding_window gives no window")


def _window(data: Mapping[str, Any]) -> Any:
    return data.get("sliding_window", _DEFAULTS.get(str(data.get("model_type"))))


def _used(data: Mapping[str, Any]) -> bool:
    return _window(data) is not None and data.get("use_sliding_window") is not False


def _sliding(data: Mapping[str, Any]) -> list[bool]:
    """Return which layers have the window, of one layer after another: those that repeat."""
    types, kind, count = data.get("layer_types"), data.get("model_type"), data["num_hidden_layers"]
    if types is not None:
        return [each == _SLIDING for each in types]
    if not _used(data):
        return [False]
    if kind in _SWITCHED:
        first = data["max_window_layers"]
        return [n >= first for n in range(min(count, _MOST))] if first < count else [False]
    if kind in _PERIODS:
        period = data.get("sliding_window_pattern") or _PERIODS[kind]
        return [True] * (min(period, _MOST) - 1) + [False]
    return [True]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
