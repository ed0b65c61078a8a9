"""Reads a Hugging Face ``config.json`` into the keys of ``model:``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.faults import found
from tspsim.files.source import KeyPath, Source
from tspsim.scenario.hf_keys import (
    ACTIVATIONS,
    OTHERS,
    changing_problems,
    gelu_problems,
    key_problems,
)
from tspsim.scenario.hf_rope import KEYS as ROPE
from tspsim.scenario.hf_rope import PARTS, rope_problems, rotary_of, rotary_problems
from tspsim.scenario.hf_window import KEYS, window_of, window_problems
from tspsim.scenario.section import MOST

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
#: Not all families' code reads these; others have biases or none whatever they say.
_ATTENTION_BIAS = {"attention_bias": "attention_bias"}
_BIASES = {**_ATTENTION_BIAS, "mlp_bias": "mlp_bias"}
_CAPS = {"score_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"}
_GPT2 = {
    "hidden": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "ffn": "n_inner",
    "vocab": "vocab_size",
    "tied": "tie_word_embeddings",
}
_GATED = {"mlp": "gated", "norm": "rmsnorm", "tied": False}
_PLAIN = {
    "mlp": "plain",
    "norm": "layernorm",
    "tied": True,
    "attention_bias": True,
    "mlp_bias": True,
}
_GEMMA = {**_GATED, "gate": "gelu", "tied": True, "scaled_embedding": True, "head_dim": 256}
_GEMMA2 = {**_GEMMA, "norm_at": "both", "score_cap": 50.0, "logit_cap": 30.0}
_GEMMA3 = {**_GEMMA, "norm_at": "both", "qk_norm": "head"}
_OLMO2 = {**_GATED, "norm_at": "behind", "qk_norm": "whole"}


@dataclass(frozen=True, slots=True)
class Family:
    """What a ``model_type`` means.

    Parameters
    ----------
    keys : Mapping
        Our key -> the configuration's key.
    fixed : Mapping
        Values that the configuration leaves to its ``model_type``, or its defaults.
    windows : bool
        Whether its attention may see a window only.
    partial : bool
        Whether positions may turn a part of each head.
    """

    keys: Mapping[str, str]
    fixed: Mapping[str, Any]
    windows: bool = True
    partial: bool = False

    @property
    def read(self) -> frozenset[str]:
        """The configuration's keys that become keys of ``model:``."""
        read = frozenset(self.keys.values()) | ROPE
        read |= ACTIVATIONS if self.fixed.get("gate") == "gelu" else frozenset()
        read |= PARTS if self.partial else frozenset()
        return read | KEYS if self.windows else read


#: GPT-2's learned positions are left out (see models/README). What is fixed beside names is the
#: default of the type's class in transformers 5.24.
FAMILIES = {
    "llama": Family({**_LLAMA, **_BIASES}, _GATED),
    "mistral": Family(_LLAMA, _GATED),
    "qwen2": Family(_LLAMA, {**_GATED, "qkv_bias": True}),
    "qwen3": Family({**_LLAMA, **_ATTENTION_BIAS}, {**_GATED, "qk_norm": "head", "head_dim": 128}),
    "olmo2": Family({**_LLAMA, **_ATTENTION_BIAS}, _OLMO2, windows=False),
    "gemma": Family({**_LLAMA, **_ATTENTION_BIAS}, _GEMMA, windows=False),
    "gemma2": Family({**_LLAMA, **_ATTENTION_BIAS, **_CAPS}, _GEMMA2),
    "gemma3_text": Family({**_LLAMA, **_ATTENTION_BIAS, **_CAPS}, _GEMMA3),
    "phi3": Family(_LLAMA, _GATED, partial=True),
    "gpt2": Family(_GPT2, _PLAIN, windows=False),
}
_OPTIONAL = frozenset({"kv_heads", "head_dim", "tied", *_BIASES, *_CAPS})


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
    given = {ours: theirs for ours, theirs in family.keys.items() if _states(data, ours, theirs)}
    keys = {**family.fixed, **{ours: data[theirs] for ours, theirs in given.items()}}
    if family.windows:
        keys["window"], given["window"] = window_of(data), "sliding_window"
    if family.partial and (head_dim := _head_dim(data)):
        keys["rotary"], given["rotary"] = rotary_of(data, head_dim), "partial_rotary_factor"
    keys.setdefault("ffn", 4 * keys["hidden"])  # what GPT-2's n_inner: null means
    return keys, {ours: (theirs,) for ours, theirs in given.items()}


def _states(data: Mapping[str, Any], ours: str, theirs: str) -> bool:
    """Whether a configuration states a key; a cap of null is none, whatever its family has."""
    return theirs in data if ours in _CAPS else data.get(theirs) is not None


def _head_dim(data: Mapping[str, Any]) -> int | None:
    """Return the width of a head; None where what it follows from is no width, and told as that."""
    hidden, heads = data.get("hidden_size"), data.get("num_attention_heads")
    stated = data.get("head_dim")
    if stated is None and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        stated = hidden // heads
    return stated if isinstance(stated, int) and 0 < stated <= MOST else None


def _problems(data: Mapping[str, Any]) -> list[Problem]:
    kind = data.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        other = OTHERS.get(kind) if isinstance(kind, str) else None
        reason = f" (has {other}: not modelled)" if other else ""
        message = f"{found(kind)}{reason}; known: {', '.join(FAMILIES)}"
        return [Problem(("model_type",), message), *changing_problems(data), *rope_problems(data)]
    family = FAMILIES[kind]
    problems = [*_missing(data, family.keys), *key_problems(data, family.read)]
    problems += rope_problems(data, partial=family.partial)
    if family.read >= ACTIVATIONS:
        problems += gelu_problems(data)
    if family.partial and (head_dim := _head_dim(data)):
        problems += rotary_problems(data, head_dim)
    return problems + (list(window_problems(data)) if family.windows else [])


def _missing(data: Mapping[str, Any], keys: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for every size that is no integer, or is not there."""
    for theirs in (key for ours, key in keys.items() if ours not in _OPTIONAL):
        if not _is_integer(data.get(theirs)) and not (theirs == "n_inner" and _no(data, theirs)):
            yield Problem((theirs,), f"{found(data.get(theirs))}; must be an integer")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _no(data: Mapping[str, Any], key: str) -> bool:
    """Whether a key is absent, or null, which means the same."""
    return data.get(key) is None
