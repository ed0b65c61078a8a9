"""Small shapes with the variants of attention and norms that real models have."""

from __future__ import annotations

from dataclasses import replace

from tspsim.model import ModelShape

#: Grouped heads, a gated MLP, an untied head.
PLAIN = ModelShape(hidden=32, layers=2, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=4)
#: As Gemma-2 and Gemma-3 in one: local and global layers, norms before and behind blocks and of
#: every head, GeGLU, scaled and tied embeddings, and caps that low scores and logits feel too.
GEMMA = replace(
    PLAIN,
    tied=True,
    gate="gelu",
    norm_at="both",
    qk_norm="head",
    window=(5, None),
    score_cap=2.0,
    logit_cap=1.5,
    scaled_embedding=True,
)
#: As OLMo-2: norms of whole queries and keys, and of the blocks' outputs alone.
OLMO = replace(PLAIN, norm_at="behind", qk_norm="whole")
#: What goes together though no family has it: a LayerNorm of heads, biases in front of norms of
#: outputs, positions on half of a head.
MIXED = replace(
    PLAIN,
    norm="layernorm",
    norm_at="behind",
    qk_norm="head",
    mlp="plain",
    attention_bias=True,
    mlp_bias=True,
    rotary=2,
)
