"""Reads a Hugging Face ``config.json`` into the keys of ``model:``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.faults import found
from tspsim.files.source import KeyPath, Source

#: Our key -> theirs, in the families whose configuration follows Llama's.
_LLAMA = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "ffn": "intermediate_size",
    "vocab": "vocab_size",
    "head_dim": "head_dim",
    "tied": "tie_word_embeddings",
}
_GPT2 = {
    "hidden": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "ffn": "n_inner",
    "vocab": "vocab_size",
    "tied": "tie_word_embeddings",
}
_GATED = {"mlp": "gated", "norm": "rmsnorm", "tied": False}


@dataclass(frozen=True, slots=True)
class Family:
    """What a ``model_type`` means.

    Parameters
    ----------
    keys : Mapping
        Our key -> the configuration's key.
    fixed : Mapping
        Values that the configuration leaves to its ``model_type``, or its defaults.
    """

    keys: Mapping[str, str]
    fixed: Mapping[str, Any]


#: GPT-2 code has biases everywhere and learned positions; both are left out (see models/README).
FAMILIES = {
    "llama": Family(_LLAMA, _GATED),
    "mistral": Family(_LLAMA, _GATED),
    "qwen2": Family(_LLAMA, {**_GATED, "qkv_bias": True}),
    "gpt2": Family(_GPT2, {"mlp": "plain", "norm": "layernorm", "tied": True}),
}
_OPTIONAL = frozenset({"kv_heads", "head_dim", "tied"})


def read_config(config: Source) -> tuple[dict[str, Any], dict[str, KeyPath]]:
    """Return the keys of ``model:`` that a config.json gives, and where each stands in it.

    Raises
    ------
    ScenarioError
        When it is not a configuration of a dense decoder that tspsim knows.
    """
    data = config.data
    if not isinstance(data, dict):
        raise ScenarioError([f"{config.name}: {found(data)}; must be a Hugging Face config.json"])
    lines = [config.line(problem) for problem in _problems(data)]
    if lines:
        raise ScenarioError(lines)
    family = FAMILIES[data["model_type"]]
    given = {ours: theirs for ours, theirs in family.keys.items() if data.get(theirs) is not None}
    keys = {**family.fixed, **{ours: data[theirs] for ours, theirs in given.items()}}
    if family.keys is _GPT2:
        keys.setdefault("ffn", 4 * keys["hidden"])  # what n_inner: null means
    return keys, {ours: (theirs,) for ours, theirs in given.items()}


def _problems(data: Mapping[str, Any]) -> list[Problem]:
    kind = data.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        return [Problem(("model_type",), f"{found(kind)}; known: {', '.join(FAMILIES)}")]
    wanted = {ours: key for ours, key in FAMILIES[kind].keys.items() if ours not in _OPTIONAL}
    missing = [
        Problem((theirs,), f"{found(data.get(theirs))}; must be an integer")
        for theirs in wanted.values()
        if not _is_integer(data.get(theirs)) and not (theirs == "n_inner" and _no(data, theirs))
    ]
    biased = [
        Problem((key,), f"{found(data[key])}; {_UNBIASED}: must be false")
        for key in ("attention_bias", "mlp_bias")
        if not _no(data, key) and data[key] is not False
    ]
    return missing + biased


_UNBIASED = "biases of this kind are not modelled"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _no(data: Mapping[str, Any], key: str) -> bool:
    """Whether a key is absent, or null, which means the same."""
    return data.get(key) is None
