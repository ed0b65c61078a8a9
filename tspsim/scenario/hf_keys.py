"""Keys of a Hugging Face ``config.json`` that leave the work as it is, and those that change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.faults import found
from tspsim.files.source import AtKey, KeyPath

#: Names, ids of tokens, initialisation, constants of norms and positions, and what generation
#: asks for: whatever their value, a training step multiplies and moves the same.
HARMLESS = frozenset({
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "architectures", "attn_implementation",
    "auto_map", "begin_suppress_tokens", "bos_token_id", "cache_implementation",
    "chunk_size_feed_forward", "decoder_start_token_id", "do_sample", "dtype", "eos_token_id",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing",
    "id2label", "initializer_factor", "initializer_range", "is_decoder", "is_llama_config",
    "keys_to_ignore", "keys_to_ignore_at_inference", "label2id", "layer_norm_eps",
    "layer_norm_epsilon", "max_length", "max_new_tokens", "max_position_embeddings",
    "max_sequence_length", "min_length", "model_max_length", "model_name", "model_type", "n_ctx",
    "n_positions", "name_or_path", "note", "num_beams", "original_max_position",
    "original_max_position_embeddings", "output_attentions", "output_hidden_states", "pad_token_id",
    "predict_special_tokens", "prefix", "pretraining_tp", "problem_type", "query_pre_attn_scalar",
    "repetition_penalty", "return_dict", "return_dict_in_generate", "rms_norm_eps",
    "rope_interleaved", "rope_local_base_freq", "rope_theta", "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights", "sep_token_id", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens",
    "task_specific_params", "temperature", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers.js_config", "transformers_version", "unk_token_id",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache",
})  # fmt: skip

_GELUS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "quick_gelu")
_SILUS = ("silu", "swish")
_GATE = "null here, and model.gate: gelu for GeGLU"
_QKV = "null here, and model.qkv_bias: true for biases of query, key and value alone"
_ATTENTION = "null here, and model.attention_bias: true for biases of all four"
_MLP = "null here, and model.mlp_bias: true"
_QK_NORM = "null here, and model.qk_norm: head or whole for those of an RMSNorm"
_CAP = "null here, and model.score_cap or model.logit_cap"
_EXPERTS = "null here, and model.experts"
_LATENT = "null here, and model.latent"
ROTARY = "null here, and model.rotary: the elements that positions turn"
_ALL = "null here, and model.attention_bias: true and model.mlp_bias: true"
_DROPOUT = "set it to 0 here, and kernels.dropout: true for dropout after embedding and blocks"

#: What Gemma calls the activation of its gate, in older files and in newer ones.
ACTIVATIONS = frozenset({"hidden_act", "hidden_activation"})

#: Key -> the values that leave the work as it is, what any other means, and what to do about it.
CHANGES: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "attention_bias": ((False,), "biases of attention's projections", _ATTENTION),
    "mlp_bias": ((False,), "biases of the MLP's matrices", _MLP),
    "use_bias": ((False,), "biases of the projections", _ALL),
    "qkv_bias": ((False,), "biases under this name", _QKV),
    "use_qkv_bias": ((False,), "biases under this name", _QKV),
    "use_qk_norm": ((False,), "norms of queries and keys", _QK_NORM),
    "qk_norm": ((False,), "norms of queries and keys", _QK_NORM),
    "qk_layernorm": ((False,), "norms of queries and keys", _QK_NORM),
    "attn_logit_softcapping": ((), "a soft cap of the attention's scores", _CAP),
    "final_logit_softcapping": ((), "a soft cap of the logits", _CAP),
    "partial_rotary_factor": ((1,), "rotary positions on a part of each head", ROTARY),
    "use_mrope": ((False,), "positions of images", ""),
    "alibi": ((False,), "positions as a bias of the scores", ""),
    "num_local_experts": ((0,), "a mixture of experts", _EXPERTS),
    "num_experts": ((0,), "a mixture of experts", _EXPERTS),
    "n_routed_experts": ((0,), "a mixture of experts", _EXPERTS),
    "n_shared_experts": ((0,), "experts that see all tokens", _EXPERTS),
    "num_experts_per_tok": ((0,), "a mixture of experts", _EXPERTS),
    "moe_intermediate_size": ((), "a mixture of experts", _EXPERTS),
    "kv_lora_rank": ((), "latent attention", _LATENT),
    "q_lora_rank": ((), "latent attention", _LATENT),
    "num_nextn_predict_layers": ((0,), "layers that predict further tokens", ""),
    "num_mtp_layers": ((0,), "layers that predict further tokens", ""),
    "router_jitter_noise": ((0,), "noise on what a router reads", ""),
    "parallel_attn": ((False,), "attention and MLP side by side", ""),
    "parallel_residual": ((False,), "attention and MLP side by side", ""),
    "use_parallel_residual": ((False,), "attention and MLP side by side", ""),
    "add_cross_attention": ((False,), "attention to an encoder", ""),
    "is_encoder_decoder": ((False,), "an encoder", ""),
    "tie_encoder_decoder": ((False,), "an encoder", ""),
    "cross_attention_hidden_size": ((), "attention to an encoder", ""),
    "reorder_and_upcast_attn": ((False,), "scores in fp32", "null here; kernels.softmax: separate"),
    "quantization_config": ((), "quantized weights", "null here; workload.linears: fp8"),
    "text_config": ((), "a model of several kinds of input", ""),
    "vision_config": ((), "a model of several kinds of input", ""),
    "pruned_heads": (({},), "layers with fewer heads", ""),
    "hidden_act": (_SILUS, "another activation than SwiGLU's", _GATE),
    "hidden_activation": (_SILUS, "another activation than SwiGLU's", _GATE),
    "clip_qkv": ((), "queries, keys and values that are clipped", ""),
    "use_bidirectional_attention": ((False,), "attention to what comes after", ""),
    "activation_function": (_GELUS, "another activation than GELU", ""),
    "attention_dropout": ((0,), "dropout", _DROPOUT),
    "attn_pdrop": ((0,), "dropout", _DROPOUT),
    "embd_pdrop": ((0,), "dropout", _DROPOUT),
    "hidden_dropout": ((0,), "dropout", _DROPOUT),
    "resid_pdrop": ((0,), "dropout", _DROPOUT),
}  # fmt: skip

#: What models of other types have that is not modelled, where it is not a key.
OTHERS = {
    "gemma3": "images; its text_config by itself, of type gemma3_text, is modelled",
    "llama4": "images; its text_config by itself, of type llama4_text, is modelled",
}


def key_problems(data: Mapping[str, Any], read: frozenset[str]) -> Iterator[Problem]:
    """Yield a problem for every key that may change the work and is not modelled.

    Parameters
    ----------
    data : Mapping
        A configuration.
    read : frozenset of str
        The keys that become keys of ``model:``, and those that its family passes over.
    """
    yield from changing_problems({k: v for k, v in data.items() if k not in read})
    for key, value in data.items():
        if value is not None and key not in HARMLESS and key not in CHANGES and key not in read:
            yield unknown((key,), value)


def unknown(place: KeyPath, value: Any) -> Problem:
    """Return the problem of a key of which nothing is known."""
    return AtKey(
        place,
        f"{found(value)}; tspsim does not know what it changes: set it to null or remove it, "
        "if a step is the same without it",
    )


def changing_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for every key that is known to change the work, and does."""
    for key, (fine, what, way_out) in CHANGES.items():
        value = data.get(key)
        if value is None or any(_same(value, allowed) for allowed in fine):
            continue
        allowed = " or ".join(["null", *(_shown(value) for value in fine)])
        hint = way_out or f"must be {allowed}, to simulate the model without"
        yield Problem((key,), f"{found(value)} ({what}: not modelled); {hint}")


def gelu_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem when the gate of a GeGLU is put through something else."""
    for key in sorted(ACTIVATIONS):
        value = data.get(key)
        if value is not None and value not in _GELUS:
            yield Problem((key,), f"{found(value)}; must be null or one of {', '.join(_GELUS)}")


def _same(value: Any, allowed: Any) -> bool:
    """Whether a value is the allowed one: 0 is 0.0, and neither is false."""
    return isinstance(value, bool) == isinstance(allowed, bool) and bool(value == allowed)


def _shown(value: Any) -> str:
    return found(value).removeprefix("found ")
