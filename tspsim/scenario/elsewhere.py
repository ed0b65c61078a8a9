"""What other tools call things: a refused word may have its answer under another name or form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tspsim.files.errors import Problem
from tspsim.files.source import AtKey, KeyPath
from tspsim.scenario.schema import ModelKeys, WorkloadKeys
from tspsim.scenario.section import Section

_REPLICAS = "replicas are an option of every strategy: strategy.dp=N"
_STAGES = "a pipeline is an option of every strategy: strategy.pp={stages: N, schedule: 1f1b}"
_EXPERTS = "where experts lie is an option of every strategy: strategy.experts={layout: ...}"
_STATES = (
    "sharded states are an option of every strategy: strategy.dp=N with strategy.zero=1, 2 or 3"
)
_SHARDED = "{kind: fsdp, dp: N}, or strategy.zero=3 of another strategy"
_CONTEXT = "tokens cut over ranks are {kind: sp, degree: N, kv: all_gather, ring, ulysses or usp}"
_MEGATRON = "{kind: tp, degree: N, sequence_parallel: true}"
_NODES = "a network of nodes is {kind: nodes, fabric: rails, rail_optimised, fat_tree or dragonfly}"
_SWITCHES = "in {kind: custom} a name that is no device is a switch"
_SEVERAL = "several nodes ship, and their number is a key: {file: h100-4-nodes, nodes: N}"
_INFERENCE = "inference is phase: prefill, decode or generate; requests are tspsim serve"
_MULTIPLIED = "products in fp8 are workload.linears=fp8"
_KEPT = "what is kept in fp8 is workload.weights={attention: fp8, mlp: fp8}"

_STRATEGIES: Mapping[str, str] = {
    **dict.fromkeys(("dp", "ddp", "data_parallel"), _REPLICAS),
    **dict.fromkeys(("pp", "pipeline", "pipeline_parallel", "1f1b", "gpipe"), _STAGES),
    **dict.fromkeys(("ep", "expert_parallel", "moe"), _EXPERTS),
    **dict.fromkeys(("zero", "zero1", "zero2", "deepspeed"), _STATES),
    **dict.fromkeys(("zero3", "fsdp1", "fsdp2", "hsdp"), _SHARDED),
    **dict.fromkeys(("cp", "context_parallel", "ulysses", "ring", "usp"), _CONTEXT),
    **dict.fromkeys(("megatron", "tensor_parallel", "megatron_sp"), _MEGATRON),
}
#: By where they stand: values that other tools have, and what is meant by them here.
_VALUES: Mapping[str, Mapping[str, str]] = {
    "strategy": _STRATEGIES,
    "strategy.kind": _STRATEGIES,
    "topology.kind": {
        **dict.fromkeys(("rails", "rail_optimised", "fat_tree", "dragonfly", "clos"), _NODES),
        **dict.fromkeys(("nvlink", "nvswitch", "node"), "nodes ship: {file: h100-node}"),
        "nvl72": "it ships: {file: gb200-nvl72}",
        **dict.fromkeys(("pcie", "hub", "tree"), _SWITCHES),
    },
    "workload.phase": {
        **dict.fromkeys(("inference", "serve", "serving", "generation"), _INFERENCE),
        **dict.fromkeys(("training", "pretrain", "finetune"), "train"),
        **dict.fromkeys(("eval", "evaluation"), "forward"),
    },
    "workload.weights": {"fp8": _KEPT},
    "workload.dtype": {
        **dict.fromkeys(("fp8", "float8", "e4m3"), f"{_MULTIPLIED}; {_KEPT}"),
        "bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64",
    },
}  # fmt: skip
#: Likewise keys, by the section that they stand in.
_KEYS: Mapping[str, Mapping[str, str]] = {
    "model": dict.fromkeys(("file", "name", "config", "path"), "hf: a shipped name, or a folder"),
    "workload": {
        **dict.fromkeys(("seq", "seq_len", "seq_length", "context_length"), "sequence"),
        **dict.fromkeys(("micro_batch_size", "batch_size"), "batch, of one replica"),
        "global_batch_size": "batch x micro_batches x strategy.dp make it",
        "gradient_accumulation_steps": "micro_batches",
        "precision": "dtype",
    },
    "strategy": {
        **dict.fromkeys(("tensor_parallel", "tensor_model_parallel_size", "tp"), _MEGATRON),
        **dict.fromkeys(("context_parallel", "context_parallel_size", "cp"), _CONTEXT),
        **dict.fromkeys(("pipeline_parallel", "pipeline_model_parallel_size"), _STAGES),
        **dict.fromkeys(("data_parallel", "data_parallel_size", "replicas"), "dp"),
        **dict.fromkeys(("expert_parallel", "expert_model_parallel_size", "ep"), _EXPERTS),
    },
    "workload.weights": {"dtype": _KEPT},
    "topology": {"nodes": _SEVERAL, "num_nodes": _SEVERAL},
}
#: Sections that a name alone does not make, and the key that it belongs to.
_NAMES: Mapping[str, str] = {
    "model": "model.hf", "topology": "topology.file", "strategy": "strategy.kind",
    "strategy.pp": "strategy.pp.stages", "strategy.experts": "strategy.experts.layout",
}  # fmt: skip
#: A number with separators or quotes, or in thousands as tokens are counted: 128K is 131,072.
_COUNT = re.compile(r"(\d+(?:[_,]\d{3})*)\s*([kKmM]?)")
_TIMES = {"": 1, "k": 2**10, "m": 2**20}


def with_near(problem: Problem, whole: Mapping[str, Any]) -> Problem:
    """Add to a problem what the refused word is called here, in place of a guess by its letters.

    Parameters
    ----------
    problem : Problem
    whole : Mapping
        The scenario.
    """
    is_key = isinstance(problem, AtKey)
    section = problem.path[:-1] if is_key else problem.path
    word = problem.path[-1] if is_key else _value(whole, problem.path)
    place = ".".join(map(str, section))
    known = (_KEYS if is_key else _VALUES).get(place, {})
    near = known.get(str(word).lower().replace("-", "_"))
    near = near or (_section(place, str(word)) if is_key else _form(problem, place, word))
    if near is None:
        return problem
    message = re.sub(r" \(did you mean '[^']*'\?\)", "", problem.message)
    return type(problem)(problem.path, f"{message}; near: {near}")


def _section(place: str, key: str) -> str | None:
    """Return the whole key, where one of a section stands beside the sections."""
    forms: dict[str, type[Section]] = {"workload": WorkloadKeys, "model": ModelKeys}
    holders = [name for name, form in forms.items() if key in form.model_fields]
    return f"{holders[0]}.{key}" if holders and not place else None


def _form(problem: Problem, place: str, value: Any) -> str | None:
    """Return what was written as it has to be: a section by its key, a count by its digits."""
    if problem.message.endswith("a mapping of keys") and place in _NAMES:
        simple = isinstance(value, str | int) and str(value).isprintable()
        return f"{_NAMES[place]}={value}" if simple else None
    if not problem.message.endswith("an integer"):
        return None
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, str) and (count := _COUNT.fullmatch(value)):
        return str(int(re.sub("[_,]", "", count[1])) * _TIMES[count[2].lower()])
    return None


def _value(whole: Any, path: KeyPath) -> Any:
    for part in path:
        whole = whole.get(part) if isinstance(whole, Mapping) else None
    return whole
