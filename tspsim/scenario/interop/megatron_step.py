"""``workload:``, ``kernels:`` and ``optimizer:`` of a command line of Megatron-LM."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.model import ITEMSIZE
from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.draft import Key
from tspsim.scenario.interop.megatron_mesh import Mesh
from tspsim.scenario.interop.megatron_model import key
from tspsim.scenario.interop.megatron_types import dtype, gradient_bytes

#: What a backend is called here; none: the preset's.
BACKENDS = {"flash": "flash-2", "fused": "cudnn", "unfused": "unfused", "local": "unfused"}
#: Flags that take a part of the kernels apart, or put it together.
PARTS = {
    "no-rope-fusion": ("rotary", "separate"),
    "no-bias-swiglu-fusion": ("activation", "separate"),
    "no-gradient-accumulation-fusion": ("accumulation", "separate"),
    "cross-entropy-loss-fusion": ("loss", "fused"),
}


def step_keys(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    """Yield the keys of the three sections."""
    yield from _workload(line, mesh)
    yield from _kernels(line)
    yield from _optimizer(line)


def micro_batches(line: CommandLine, mesh: Mesh) -> int:
    """Return how many micro-batches a step has."""
    total = line.get("global-batch-size")
    return int(total // (line.get("micro-batch-size") * mesh.dp)) if total else 1


def recompute(line: CommandLine) -> tuple[str, str]:
    """Return what backward computes again, and what of it is not modelled."""
    granularity = line.get("recompute-granularity")
    if granularity == "full":
        units = line.get("recompute-num-layers") or 1
        grouped = line.get("recompute-method") == "uniform" and units > 1
        return "full", f"not modelled: units of {units} layers; each is one" if grouped else ""
    if granularity != "selective" and not line.has("recompute-activations"):
        return "none", ""
    modules = line.get("recompute-modules") or ["core_attn"]
    others = [module for module in modules if module != "core_attn"]
    note = f"not modelled: {', '.join(others)}" if others else ""
    return "selective" if "core_attn" in modules else "none", note


def _workload(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    yield key(line, "workload.sequence", line.get("seq-length"), "seq-length")
    yield key(line, "workload.batch", line.get("micro-batch-size"), "micro-batch-size")
    count = micro_batches(line, mesh)
    note = f"of {line.get('micro-batch-size')} on each of {mesh.dp} replicas"
    yield key(line, "workload.micro_batches", count, "global-batch-size", note=note)
    yield key(line, "workload.dtype", dtype(line), "bf16", "fp16")
    if line.has("fp8-format"):
        yield key(line, "workload.linears", "fp8", "fp8-format")
    what, note = recompute(line)
    flags = [flag for flag in line.known if flag.startswith("recompute-")]
    yield key(line, "workload.recompute", what, *flags, note=note)


def _kernels(line: CommandLine) -> Iterator[Key]:
    yield key(line, "kernels.preset", "megatron-core", "transformer-impl")
    flags = ("attention-backend", "use-flash-attn")
    attention = attention_of(line)
    if attention:
        yield key(line, "kernels.attention", attention, *flags)
    if attention == "unfused" and line.has("no-masked-softmax-fusion"):
        yield key(line, "kernels.softmax", "separate", "no-masked-softmax-fusion")
    for flag, (part, value) in PARTS.items():
        if line.has(flag):
            yield key(line, f"kernels.{part}", value, flag)
    dropout = line.get("hidden-dropout") > 0
    yield key(line, "kernels.dropout", dropout, "hidden-dropout", "attention-dropout")


def attention_of(line: CommandLine) -> str | None:
    """Return the attention kernel; None: the preset's."""
    backend = line.get("attention-backend")
    if backend != "auto":
        return BACKENDS[backend]
    if line.get("transformer-impl") == "local":
        return "unfused"
    return "flash-2" if line.has("use-flash-attn") else None


def _optimizer(line: CommandLine) -> Iterator[Key]:
    name, kind = line.get("optimizer"), dtype(line)
    note = "not modelled: the products of its update" if "muon" in name else ""
    yield key(line, "optimizer.kind", "adamw" if name == "adam" else name, "optimizer", note=note)
    where = "optimizer.bytes_per_parameter"
    yield key(line, f"{where}.weight", ITEMSIZE[kind], "bf16", "fp16")
    reduced = ("accumulate-allreduce-grads-in-fp32", "grad-reduce-in-bf16", "main-grads-dtype")
    yield key(line, f"{where}.gradient", gradient_bytes(line), *reduced)
    parameters = line.get("main-params-dtype")
    master = 0 if kind == "fp32" else ITEMSIZE[parameters]
    yield key(line, f"{where}.master", master, "main-params-dtype")
    first, second = ("exp-avg-dtype", "exp-avg-sq-dtype")
    moments = ITEMSIZE[line.get(first)]
    moments += ITEMSIZE[line.get(second)] if name == "adam" else 0
    yield key(line, f"{where}.moments", moments, first, second)
