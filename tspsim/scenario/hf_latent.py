"""The latent attention that a Hugging Face ``config.json`` of DeepSeek-V2 or V3 asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found

#: Our key of ``model.latent`` -> theirs.
KEYS = {
    "kv_rank": "kv_lora_rank",
    "nope": "qk_nope_head_dim",
    "rope": "qk_rope_head_dim",
    "value": "v_head_dim",
    "q_rank": "q_lora_rank",
}
_OPTIONAL = "q_rank"


def latent_of(data: Mapping[str, Any]) -> dict[str, int]:
    """Return the keys of ``model.latent`` that a configuration without `latent_problems` gives."""
    return {ours: data[theirs] for ours, theirs in KEYS.items() if data.get(theirs) is not None}


def latent_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for every width that is missing or no whole number.

    And for key/value heads that are not the query heads: every head has its own, from the latent.
    """
    for ours, theirs in KEYS.items():
        value = data.get(theirs)
        if not (_is_width(value) or (ours == _OPTIONAL and value is None)):
            null = ", or null" if ours == _OPTIONAL else ""
            yield Problem((theirs,), f"{found(value)}; must be a positive integer{null}")
    heads, kv = data.get("num_attention_heads"), data.get("num_key_value_heads")
    if kv is not None and kv != heads:
        message = f"{found(kv)}; with latent attention every one of the {heads} heads has its own"
        yield Problem(("num_key_value_heads",), message)


def _is_width(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
