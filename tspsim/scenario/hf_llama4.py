"""What Llama 4's ``config.json`` says of its attention: positions, norms and chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found

_NORMS, _TURNED, _INTERVAL = "use_qk_norm", "no_rope_layers", "no_rope_layer_interval"
_CHUNK, _TYPES = "attention_chunk_size", "layer_types"
#: The keys that are read here.
KEYS = frozenset({_NORMS, _TURNED, _INTERVAL, _CHUNK, _TYPES})
#: What the type's class has in transformers 5.24 where nothing is stated.
_EVERY, _TOKENS = 4, 8192
_FULL, _CHUNKED = "full_attention", "chunked_attention"


def attention_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of ``model:`` that a configuration without `attention_problems` gives."""
    chunked = _CHUNKED in (data.get(_TYPES) or [_CHUNKED])
    return {
        "qk_norm": None if data.get(_NORMS) is False else "plain",
        "unturned": _unturned(data),
        "chunk": data.get(_CHUNK, _TOKENS) if chunked else None,
    }


def attention_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is no such key, and a pattern of layers without positions that is not modelled."""
    norms, turned, types = data.get(_NORMS), data.get(_TURNED), data.get(_TYPES)
    if not isinstance(norms, bool | None):
        yield Problem((_NORMS,), f"{found(norms)}; must be null, true or false")
    for key in (_INTERVAL, _CHUNK):
        value = data.get(key)
        if value is not None and not (type(value) is int and value > 0):
            yield Problem((key,), f"{found(value)}; must be a positive integer or null")
    if turned is not None and not (isinstance(turned, list) and all(n in (0, 1) for n in turned)):
        message = "must be null or a list with 1 for every layer that has positions, else 0"
        yield Problem((_TURNED,), f"{found(turned)}; {message}")
    elif turned and list(map(bool, turned)) != _has_positions(len(turned), _period(turned)):
        message = "layers without positions that are not the last of so many each: not modelled"
        yield Problem((_TURNED,), message)
    if types is not None and not (
        isinstance(types, list) and {*map(str, types)} <= {_FULL, _CHUNKED}
    ):
        message = f"must be null or a list of {_FULL} and {_CHUNKED}"
        yield Problem((_TYPES,), f"{found(types)}; {message}")


def _unturned(data: Mapping[str, Any]) -> int | None:
    """Return of how many layers each the last has no positions."""
    turned = data.get(_TURNED)
    return _period(turned) if turned else data.get(_INTERVAL) or _EVERY


def _period(turned: list[int]) -> int | None:
    return next((n for n, has in enumerate(turned, 1) if not has), None)


def _has_positions(layers: int, period: int | None) -> list[bool]:
    return [not period or n % period != 0 for n in range(1, layers + 1)]
