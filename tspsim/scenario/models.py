"""Reads a Hugging Face ``config.json`` into the keys of ``model:``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.faults import found
from tspsim.files.source import KeyPath, Source
from tspsim.scenario import hf_latent, hf_llama4
from tspsim.scenario.hf_experts import NAMES, Names, expert_problems, experts_of
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
_DEEPSEEK = {
    ours: theirs for ours, theirs in _LLAMA.items() if ours not in ("kv_heads", "head_dim")
}
_LLAMA4 = {**_LLAMA, **_ATTENTION_BIAS, "ffn": "intermediate_size_mlp"}
_GPT_OSS = {**_GATED, "head_dim": 64, "attention_bias": True, "sinks": True}
_OLMO2 = {**_GATED, "norm_at": "behind", "qk_norm": "whole"}


_KV = "num_key_value_heads"
#: Second names, and constants of gpt-oss's activation.
_SWIGLU = frozenset({
    "experts_per_token", "initial_context_length", "swiglu_alpha", "swiglu_limit",
})  # fmt: skip
#: By how much queries of Llama 4's layers without positions are scaled.
_SCALES = frozenset({
    "attn_scale", "attn_temperature_tuning", "floor_scale", "for_llm_compressor",
})  # fmt: skip
#: Second names, and how strongly loads are evened out: a number in what is computed anyway.
_OF_DEEPSEEK = frozenset({
    "aux_loss_alpha", "ep_size", "head_dim", "qk_head_dim", "rope_interleave", "seq_aux",
})  # fmt: skip


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
    experts : Names or None
        How it names its experts.
    latent : bool
        Whether its attention is latent attention.
    chunks : bool
        Whether its attention is that of Llama 4.
    passed : frozenset of str
        Keys of its own that leave the work as it is.
    """

    keys: Mapping[str, str]
    fixed: Mapping[str, Any]
    windows: bool = True
    partial: bool = False
    experts: Names | None = None
    latent: bool = False
    chunks: bool = False
    passed: frozenset[str] = frozenset()

    @property
    def read(self) -> frozenset[str]:
        """The configuration's keys that become keys of ``model:``, and those that need not."""
        read = frozenset(self.keys.values()) | ROPE | self.passed
        read |= self.experts.read if self.experts else frozenset()
        read |= frozenset((*hf_latent.KEYS.values(), _KV)) if self.latent else frozenset()
        read |= hf_llama4.KEYS if self.chunks else frozenset()
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
    "mixtral": Family(_LLAMA, _GATED, experts=NAMES["mixtral"]),
    "qwen2_moe": Family(
        {**_LLAMA, "qkv_bias": "qkv_bias"},
        {**_GATED, "qkv_bias": True},
        experts=NAMES["qwen2_moe"],
    ),
    "qwen3_moe": Family(
        {**_LLAMA, **_ATTENTION_BIAS}, {**_GATED, "qk_norm": "head"}, experts=NAMES["qwen3_moe"]
    ),
    "olmoe": Family(
        {**_LLAMA, **_ATTENTION_BIAS},
        {**_GATED, "qk_norm": "whole"},
        windows=False,
        experts=NAMES["olmoe"],
    ),
    "gpt_oss": Family(
        {**_LLAMA, **_ATTENTION_BIAS}, _GPT_OSS, experts=NAMES["gpt_oss"], passed=_SWIGLU
    ),
    "llama4_text": Family(
        _LLAMA4,
        {**_GATED, "head_dim": 128},
        windows=False,
        experts=NAMES["llama4_text"],
        chunks=True,
        passed=_SCALES,
    ),
    **{
        kind: Family(
            _DEEPSEEK, _GATED, windows=False, experts=NAMES[kind], latent=True, passed=_OF_DEEPSEEK
        )
        for kind in ("deepseek_v2", "deepseek_v3", "kimi_k2")
    },
    "glm4_moe": Family(
        {**_LLAMA, "qkv_bias": "attention_bias"},
        {**_GATED, "head_dim": 128},
        windows=False,
        partial=True,
        experts=NAMES["glm4_moe"],
    ),
    "gpt2": Family(_GPT2, _PLAIN, windows=False),
}
_OPTIONAL = frozenset({"kv_heads", "head_dim", "tied", "qkv_bias", *_BIASES, *_CAPS})


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
    if family.experts:
        keys["experts"], given["experts"] = experts_of(data), family.experts.count
    if family.latent:
        keys["latent"], given["latent"] = hf_latent.latent_of(data), "kv_lora_rank"
    if family.chunks:
        keys |= hf_llama4.attention_of(data)
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
    problems += expert_problems(data) if family.experts else ()
    problems += hf_latent.latent_problems(data) if family.latent else ()
    problems += hf_llama4.attention_problems(data) if family.chunks else ()
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
