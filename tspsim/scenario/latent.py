"""What latent attention asks of the other keys of ``model:``."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.files.errors import Problem
from tspsim.files.faults import found
from tspsim.scenario.schema import ModelKeys


def latent_problems(keys: ModelKeys) -> Iterator[Problem]:
    """Yield what cannot stand beside ``latent:``, and a width that positions cannot turn."""
    latent = keys.latent
    if latent is None:
        return
    if latent.rope % 2:
        message = f"found {latent.rope}; must be even: rotary positions turn pairs"
        yield Problem(("model", "latent", "rope"), message)
    if keys.kv_heads not in (None, keys.heads):
        message = f"found {keys.kv_heads}; with latent attention every head has its own: "
        yield Problem(("model", "kv_heads"), f"{message}leave it out, or state {keys.heads}")
    head = latent.shape().head
    if keys.head_dim not in (None, head):
        message = f"found {keys.head_dim}; it is latent.nope + latent.rope: leave it out, or state "
        yield Problem(("model", "head_dim"), f"{message}{head}")
    for name, what in (("qkv_bias", "biases"), ("attention_bias", "biases"), ("sinks", "sinks")):
        if getattr(keys, name):
            message = f"found true; latent attention with {what} is not modelled: set it to false"
            yield Problem(("model", name), message)
    for name in ("qk_norm", "score_cap", "rotary", "unturned"):
        if (value := getattr(keys, name)) is not None:
            message = f"{found(value)}; not modelled with latent attention: leave it out"
            yield Problem(("model", name), message)
