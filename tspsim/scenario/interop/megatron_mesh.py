"""``strategy:`` of a command line of Megatron-LM: how ranks are arranged, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.draft import Key
from tspsim.scenario.interop.megatron_model import key, kv_heads
from tspsim.scenario.interop.megatron_stages import pipeline_keys
from tspsim.scenario.interop.megatron_types import gradient_bytes

TP, CP = "tensor-model-parallel-size", "context-parallel-size"
PP = "pipeline-model-parallel-size"
#: What keys and values travel by.
EXCHANGES = {"p2p": "ring", "a2a": "ulysses", "allgather": "all_gather", "a2a+p2p": "usp"}
#: What replicas share.
SHARED = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}
#: One message for all gradients of a rank.
WHOLE = "1000 TB"


@dataclass(frozen=True, slots=True)
class Mesh:
    """Degrees of a command line's axes."""

    world: int
    tp: int
    cp: int
    pp: int

    @property
    def dp(self) -> int:
        """Replicas."""
        return self.world // (self.tp * self.cp * self.pp)


def mesh_of(line: CommandLine, world: int) -> Mesh:
    """Return the degrees on so many devices."""
    return Mesh(world, *(line.get(flag) for flag in (TP, CP, PP)))


def zero(line: CommandLine) -> int:
    """Return what replicas share, as ``strategy.zero``."""
    if line.has("use-torch-fsdp2"):
        return 3
    if line.has("use-megatron-fsdp"):
        return SHARED[line.get("data-parallel-sharding-strategy")]
    return 1 if line.has("use-distributed-optimizer") else 0


def kind(line: CommandLine, mesh: Mesh) -> str:
    """Return the strategy."""
    if mesh.cp > 1:
        return "tp_sp" if mesh.tp > 1 else "sp"
    return "fsdp" if mesh.tp == 1 and zero(line) > 1 else "tp"


def mesh_keys(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    """Yield the keys of ``strategy:`` but where experts lie."""
    yield from _axes(line, mesh)
    yield key(line, "strategy.dp", mesh.dp, note=f"{mesh.world} devices over the other axes")
    yield from _sharing(line, mesh)
    if line.has("optimizer-cpu-offload"):
        yield key(line, "strategy.offload", "optimizer", "optimizer-cpu-offload")
    yield from pipeline_keys(line, mesh.pp)
    if line.has("use-tp-pp-dp-mapping") and mesh.pp > 1:
        own = {"tp": ["tp"], "sp": ["sp"], "tp_sp": ["tp", "sp"], "fsdp": []}[kind(line, mesh)]
        yield key(line, "strategy.placement", [*own, "pp", "dp"], "use-tp-pp-dp-mapping")


def _axes(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    name = kind(line, mesh)
    yield key(line, "strategy.kind", name, *(() if name != "fsdp" else _FSDP), note=_why(name))
    if name == "tp":
        yield key(line, "strategy.degree", mesh.tp, TP)
    elif name == "sp":
        yield key(line, "strategy.degree", mesh.cp, CP)
    elif name == "tp_sp":
        yield key(line, "strategy.tp", mesh.tp, TP)
        yield key(line, "strategy.sp", mesh.cp, CP)
    if name in ("tp", "tp_sp"):
        scatters = line.has("sequence-parallel") and mesh.tp > 1
        yield key(line, "strategy.sequence_parallel", scatters, "sequence-parallel")
        if mesh.tp > kv_heads(line) and not line.has("multi-latent-attention"):
            note = "more ranks than key/value heads"
            yield key(line, "strategy.replicate_kv_heads", True, "num-query-groups", note=note)
    if mesh.cp > 1:
        yield key(line, "strategy.kv", EXCHANGES[line.get("cp-comm-type")[0]], "cp-comm-type")
        if line.get("cp-comm-type")[0] == "a2a+p2p":
            flag = "hierarchical-context-parallel-sizes"
            yield key(line, "strategy.ulysses_degree", line.get(flag)[0], flag)


_FSDP = ("use-torch-fsdp2", "use-megatron-fsdp")


def _why(name: str) -> str:
    return {
        "tp": "weights are cut over neighbours",
        "sp": "tokens are cut over neighbours: context parallelism",
        "tp_sp": "weights and tokens are cut: tensor and context parallelism",
        "fsdp": "replicas alone",
    }[name]


def _sharing(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    shares = zero(line)
    flags = ("use-distributed-optimizer", *_FSDP, "data-parallel-sharding-strategy")
    yield key(line, "strategy.zero", shares, *flags)
    early = line.has("overlap-grad-reduce")
    if shares < 2:
        yield key(line, "strategy.overlap_gradients", early, "overlap-grad-reduce")
        yield _bucket(line, mesh, early)
    if shares in (1, 2):
        weights = line.has("overlap-param-gather")
        yield key(line, "strategy.overlap_weights", weights, "overlap-param-gather")
    copies = line.get("num-distributed-optimizer-instances")
    if shares and copies > 1:
        flag = "num-distributed-optimizer-instances"
        yield key(line, "strategy.shard.degree", mesh.dp // copies, flag)
    if shares == 3 and line.has("torch-fsdp2-no-reshard-after-forward"):
        yield key(line, "strategy.reshard", False, "torch-fsdp2-no-reshard-after-forward")


def _bucket(line: CommandLine, mesh: Mesh, early: bool) -> Key:
    """Return the bytes of a message of gradients: Megatron-LM counts their elements."""
    path, flag = "strategy.bucket", "ddp-bucket-size"
    if not early:
        return key(line, path, WHOLE, note="one message: gradients are not overlapped")
    elements = line.get(flag) or max(40_000_000, 1_000_000 * mesh.dp * mesh.cp)
    size = elements * gradient_bytes(line)
    note = "" if line.has(flag) else "the larger of 40,000,000 elements and 1,000,000 a replica"
    return key(line, path, f"{size} B", flag, note=note)
