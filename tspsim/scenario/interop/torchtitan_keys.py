"""The keys of torchtitan's configuration files, and the models that it names.

Names and defaults are those of ``torchtitan/config/job_config.py`` at commit 000204a4a8bf, with
some of later ones.
"""

from __future__ import annotations

from typing import Any

from tspsim.scenario.interop.flags import Flag, Takes

_BOOLEAN = Flag("nothing", False)


def _count(default: int | None, least: int = 1) -> Flag:
    return Flag("integer", default, least=least)


def _word(default: str, *choices: str) -> Flag:
    return Flag("word", default, choices)


#: torchtitan's schedules -> ours.
SCHEDULES = {
    "1F1B": "1f1b",
    "GPipe": "gpipe",
    "Interleaved1F1B": "interleaved",
    "LoopedBFS": "looped_bfs",
    "InterleavedZeroBubble": "interleaved_zb",
    "ZBVZeroBubble": "zb_v",
    "DualPipeV": "dualpipe_v",
}

_P, _T = "parallelism.", "training."
KEYS: dict[str, Flag] = {
    "model.name": Flag("word", "llama3"),
    "model.flavor": Flag("word", "debugmodel"),
    "model.converters": Flag("words", []),
    f"{_T}local_batch_size": _count(8),
    f"{_T}batch_size": _count(8),
    f"{_T}global_batch_size": _count(-1, -1),
    f"{_T}seq_len": _count(2048),
    f"{_T}compile": _BOOLEAN,
    f"{_T}dtype": _word("float32", "float32", "bfloat16"),
    f"{_T}mixed_precision_param": _word("bfloat16", "bfloat16", "float32"),
    f"{_T}mixed_precision_reduce": _word("float32", "float32", "bfloat16"),
    "compile.enable": _BOOLEAN,
    f"{_P}data_parallel_replicate_degree": _count(1),
    f"{_P}data_parallel_shard_degree": _count(-1, -1),
    f"{_P}fsdp_reshard_after_forward": _word("default", "default", "always", "never"),
    f"{_P}tensor_parallel_degree": _count(1),
    f"{_P}context_parallel_degree": _count(1),
    f"{_P}context_parallel_rotate_method": _word("allgather", "allgather", "alltoall"),
    f"{_P}pipeline_parallel_degree": _count(1),
    f"{_P}pipeline_parallel_schedule": _word("1F1B", *SCHEDULES),
    f"{_P}pipeline_parallel_microbatch_size": _count(1),
    f"{_P}expert_parallel_degree": _count(1),
    f"{_P}expert_tensor_parallel_degree": _count(None),
    "activation_checkpoint.mode": _word("selective", "none", "selective", "full", "memory_budget"),
}

_UNMODELLED: dict[str, tuple[Takes, str]] = {
    f"{_T}enable_cpu_offload": ("nothing", "weights and gradients in the host's memory"),
    f"{_P}enable_async_tensor_parallel": ("nothing", "matrix products that begin early"),
    f"{_P}disable_loss_parallel": ("nothing", "logits of the whole vocabulary on every rank"),
    f"{_P}enable_compiled_autograd": ("nothing", "a backward that is compiled"),
    f"{_P}pipeline_parallel_layers_per_stage": ("integer", "stages are dealt out evenly"),
    f"{_P}pipeline_parallel_first_stage_less_layers": ("integer", "stages are dealt out evenly"),
    f"{_P}pipeline_parallel_last_stage_less_layers": ("integer", "stages are dealt out evenly"),
    f"{_P}pipeline_parallel_split_points": ("words", "stages are dealt out evenly"),
    f"{_P}module_fqns_per_model_part": ("words", "stages are dealt out evenly"),
    "activation_checkpoint.selective_ac_option": ("word", "a part of the ops or layers"),
    "activation_checkpoint.per_op_sac_force_recompute_mm_shapes_by_fqns": ("words", "single ops"),
    "activation_checkpoint.early_stop": ("nothing", "a part of the ops"),
    "optimizer.early_step_in_backward": ("nothing", "an update inside of backward"),
    "float8.enable_fsdp_float8_all_gather": ("nothing", "weights travel in bf16"),
    "float8.force_recompute_fp8_weight_in_bwd": ("nothing", "when operands are cast"),
    "float8.filter_fqns": ("words", "all matrices of layers are in fp8, the head is not"),
    "float8.recipe_name": ("word", "how numbers are scaled"),
    "float8.moe_fqns_prototype": ("words", "all matrices of layers are in fp8"),
}
_SAME: dict[str, tuple[Takes, str]] = {
    "model.tokenizer_path": ("word", "text and its tokens"),
    "model.hf_assets_path": ("word", "text and its tokens"),
    "model.tokenizer_name": ("word", "text and its tokens"),
    "model.print_after_conversion": ("nothing", "logs"),
    f"{_T}dataset": ("word", "text and its tokens"),
    f"{_T}dataset_path": ("word", "text and its tokens"),
    f"{_T}max_norm": ("number", "a number in an update that is made anyway"),
    f"{_T}steps": ("integer", "how many steps there are"),
    f"{_T}warmup_steps": ("integer", "how many steps there are"),
    f"{_T}gc_freq": ("integer", "pauses between steps"),
    f"{_T}gc_debug": ("nothing", "pauses between steps"),
    f"{_T}seed": ("integer", "first values of weights"),
    f"{_T}deterministic": ("nothing", "first values of weights"),
    "compile.components": ("words", "what of the step is compiled"),
    "compile.backend": ("word", "what of the step is compiled"),
    "compile.model": ("nothing", "what of the step is compiled"),
    "compile.loss": ("nothing", "what of the step is compiled"),
    "float8.precompute_float8_dynamic_scale_for_fsdp": ("nothing", "how numbers are scaled"),
    "float8.emulate": ("nothing", "a test of torchtitan"),
    "activation_checkpoint.preserve_rng_state": ("nothing", "dropout, of which there is none"),
    "activation_checkpoint.determinism_check": ("word", "a check"),
    "activation_checkpoint.debug": ("nothing", "logs"),
    **{
        f"optimizer.{key}": ("number", "a number in an update that is made anyway")
        for key in ("lr", "beta1", "beta2", "eps", "weight_decay")
    },
    "optimizer.name": ("word", "AdamW and Adam hold the same"),
    "optimizer.implementation": ("word", "how the update is issued"),
}
_REFUSED: dict[str, tuple[Takes, str]] = {
    f"{_P}pipeline_parallel_schedule_csv": (
        "word",
        "a file of rows; name it in the scenario, strategy.pp.schedule: {file: ...}",
    ),
    "fault_tolerance.enable": ("nothing", "replicas that come and go"),
}
KEYS |= {
    key: Flag(takes, fate=fate, why=why)  # type: ignore[arg-type]
    for fate, keys in (("unmodelled", _UNMODELLED), ("passed", _SAME), ("refused", _REFUSED))
    for key, (takes, why) in keys.items()
}

#: Sections that say nothing of a step.
SECTIONS = {
    "job": "names and folders",
    "profiling": "measurements",
    "metrics": "logs",
    "lr_scheduler": "rates of learning",
    "checkpoint": "checkpoints",
    "comm": "timeouts",
    "memory_estimation": "an estimate",
    "experimental": "modules to load",
    "validation": "steps of validation",
    "debug": "checks",
    "mx": "settings of converters that are not named",
    "quantize": "settings of converters",
}

#: What all dense ones of Qwen3 have in common, and what the small ones do.
_QWEN3, _TIED = {"hf": "qwen3-8b"}, {"tied": True}

#: Flavors -> shipped models, or shapes.
MODELS: dict[tuple[str, str], str | dict[str, Any]] = {
    ("llama3", "8B"): "llama-3-8b",
    ("llama3", "70B"): "llama-3-70b",
    ("llama3", "405B"): {
        "hidden": 16384, "layers": 126, "heads": 128, "kv_heads": 8, "ffn": 53248, "vocab": 128256,
    },
    ("llama3", "debugmodel"): {"hidden": 256, "layers": 6, "heads": 16, "ffn": 768, "vocab": 2048},
    ("llama4", "17bx16e"): "llama-4-scout",
    ("deepseek_v3", "16B"): "deepseek-v2-lite",
    ("deepseek_v3", "671B"): "deepseek-v3",
    ("qwen3", "0.6B"): _QWEN3 | _TIED | {"hidden": 1024, "layers": 28, "heads": 16, "ffn": 3072},
    ("qwen3", "1.7B"): _QWEN3 | _TIED | {"hidden": 2048, "layers": 28, "heads": 16, "ffn": 6144},
    ("qwen3", "4B"): _QWEN3 | _TIED | {"hidden": 2560, "layers": 36, "heads": 32, "ffn": 9728},
    ("qwen3", "8B"): "qwen3-8b",
    ("qwen3", "14B"): _QWEN3 | {"hidden": 5120, "layers": 40, "heads": 40, "ffn": 17408},
    ("qwen3", "32B"): _QWEN3 | {"hidden": 5120, "layers": 64, "heads": 64, "ffn": 25600},
    ("qwen3", "30B-A3B"): "qwen3-30b-a3b",
}  # fmt: skip
