"""What must hold between the parts of a scenario, whatever the strategy."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.files.errors import Problem, did_you_mean
from tspsim.files.units import format_bytes
from tspsim.registry import COLLECTIVES
from tspsim.scenario.inference import infers, length_key, lengths_of
from tspsim.scenario.latent import latent_problems
from tspsim.scenario.schema import MemoryKeys, ModelKeys, ScenarioKeys, WorkloadKeys
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.graph import Topology

#: Layers or pieces of a step beyond which a number is no model's, and would take for ever.
MOST_REPEATS = 16384
#: Elements of a tensor whose bytes, in all buffers of a rank, can still be counted in 64 bits.
MOST_ELEMENTS = 2**53
#: Layers of all micro-batches: each of them is recorded.
MOST_PASSES = 100_000


def model_problems(keys: ModelKeys) -> Iterator[Problem]:
    """Yield what makes a shape impossible."""
    model = keys.value()
    if keys.latent:
        yield from latent_problems(keys)
        return
    if model.heads % model.kv_heads:
        message = f"found {model.kv_heads}; must divide the {model.heads} heads"
        yield Problem(("model", "kv_heads"), message)
    if not keys.head_dim and model.hidden % model.heads:
        message = f"found {model.heads}; must divide hidden {model.hidden}, or give head_dim"
        yield Problem(("model", "heads"), message)
    elif model.head_dim % 2:
        message = f"head_dim is {model.head_dim}; must be even: rotary positions turn pairs"
        yield Problem(("model", "head_dim" if keys.head_dim else "heads"), message)
    yield from _variant_problems(keys, model.head_dim)


def _variant_problems(keys: ModelKeys, head_dim: int) -> Iterator[Problem]:
    """Yield variants of attention and MLP that do not go together."""
    if keys.rotary and (keys.rotary % 2 or keys.rotary > head_dim):
        message = f"found {keys.rotary}; must be even, at most the head_dim of {head_dim}"
        yield Problem(("model", "rotary"), message)
    if keys.qk_norm == "whole" and keys.norm == "layernorm":
        message = "found 'whole' with norm: layernorm; use qk_norm: head, or norm: rmsnorm"
        yield Problem(("model", "qk_norm"), message)
    if keys.gate == "gelu" and keys.mlp == "plain":
        message = "found 'gelu'; a plain MLP has no gate, and is GELU without it"
        yield Problem(("model", "gate"), message)


def window_problems(keys: ScenarioKeys) -> Iterator[Problem]:
    """Yield a problem when a window has no causal mask whose past it could cut."""
    window = keys.model.window
    windows = set(window if isinstance(window, tuple) else (window,)) - {None}
    if windows and keys.workload.causal == "off":
        told = "found " + ", ".join(map(str, sorted(windows, key=str)))
        message = f"{told}; a window is simulated with a causal mask, not with causal: off"
        yield Problem(("model", "window"), message)


def chunk_problems(keys: ScenarioKeys) -> Iterator[Problem]:
    """Yield a problem when a sequence is longer than what attention does not look out of."""
    chunk, work = keys.model.chunk, keys.workload
    sequence = max(lengths_of(work)) if infers(work.phase) else work.sequence or 0
    if chunk and sequence > chunk:
        message = f"found {sequence}; the model attends in chunks of {chunk} tokens (model.chunk), "
        message += f"which is not modelled: at most {chunk}, or model.chunk=null for attention to "
        yield Problem(("workload", length_key(work)), f"{message}all tokens before")


def size_problems(keys: ScenarioKeys) -> Iterator[Problem]:
    """Yield what no machine could simulate, or count: a slip of the finger, as a rule."""
    model, work = keys.model, keys.workload
    for section, key, times in (
        ("model", "layers", model.layers),
        ("workload", "micro_batches", work.micro_batches),
        ("workload", "logits_chunks", work.logits_chunks),
    ):
        if times > MOST_REPEATS:
            yield Problem((section, key), f"found {times}; at most {MOST_REPEATS} are simulated")
    if model.layers <= MOST_REPEATS:  # else nobody counts them
        yield from _element_problems(keys)
    passes = model.layers * work.micro_batches
    if passes > MOST_PASSES:
        told = f"makes {passes:,} layers in all micro-batches; at most {MOST_PASSES:,} are recorded"
        yield Problem(("workload", "micro_batches"), told)


def _element_problems(keys: ScenarioKeys) -> Iterator[Problem]:
    """Yield the widest of tensors that are too large."""
    work, shape = keys.workload, keys.model.value()
    widths = {"hidden": shape.hidden, "heads": shape.query_width, "ffn": shape.ffn}
    widths["vocab"] = shape.vocab
    tokens = sum(lengths_of(work)) if infers(work.phase) else (work.sequence or 0) * work.batch
    widest = max(widths, key=lambda name: widths[name])
    for path, size in (
        (("model", widest), shape.parameters),
        (("workload", length_key(work)), tokens * widths[widest]),
    ):
        if size > MOST_ELEMENTS:
            yield Problem(path, f"makes tensors of more than {MOST_ELEMENTS:.0e} elements")


def algorithm_problems(algorithm: str) -> Iterator[Problem]:
    """Yield a problem when no collective algorithm has that name."""
    known = ("auto", *COLLECTIVES.names())
    if algorithm not in known:
        message = f"found '{algorithm}'; known: {', '.join(known)}{did_you_mean(algorithm, known)}"
        yield Problem(("network", "algorithm"), message)


def all_reduce_problems(keys: ScenarioKeys, topology: Topology) -> Iterator[Problem]:
    """Yield why all-reduces of serving libraries that were asked for could not be played."""
    if keys.kernels.all_reduce != "custom":
        return
    path, profile = ("kernels", "all_reduce"), topology.profile
    if keys.network.algorithm != "auto":
        told = f"found 'custom', but network.algorithm is '{keys.network.algorithm}' for every call"
        yield Problem(path, f"{told}; leave one of them out")
    elif not any(w.algorithm and COLLECTIVES.get(w.algorithm).serving for w in profile.protocols):
        told = f"found 'custom'; profile '{profile.name}' has no times of one"
        yield Problem(path, f"{told}; nccl takes what it has of NCCL or RCCL")


def device_problems(topology: Topology, work: WorkloadKeys) -> Iterator[Problem]:
    """Yield a problem when a device states no peak rate for what the workload multiplies."""
    multiplied: list[tuple[tuple[str, ...], str]] = [
        (("workload", "dtype"), work.dtype),
        (("workload", "linears"), work.linears),
    ]
    if work.weights:
        kept = work.weights.model_dump()
        multiplied += [(("workload", "weights", block), kept[block]) for block in kept]
    for device in dict.fromkeys(topology.devices):
        rates = dict(device.flop_rate)
        for path, needed in multiplied:
            if needed and needed not in rates:
                message = f"found '{needed}'; device '{device.name}' has {', '.join(rates)}"
                yield Problem(path, message)


def offload_problems(strategy: StrategyOptions, topology: Topology) -> Iterator[Problem]:
    """Yield a problem when states go to a host of which a device does not say how it is reached."""
    if not strategy.offload:
        return
    for device in dict.fromkeys(topology.devices):
        rates = {"host_link": device.host_link, "host_memory": device.host_memory}
        missing = [name for name, rate in rates.items() if not rate]
        if missing:
            message = (
                f"found 'optimizer'; device '{device.name}' states no {' and no '.join(missing)}"
            )
            state = ", ".join(f"topology.device.{name}=50 GB/s" for name in missing)
            yield Problem(("strategy", "offload"), f"{message}: state what it has, as in {state}")


def memory_problems(topology: Topology, memory: MemoryKeys) -> Iterator[Problem]:
    """Yield what the runtime or a library holds where it leaves nothing of the smallest device."""
    smallest = min(topology.devices, key=lambda device: device.memory)
    for key, held in memory.stated().items():
        if held >= smallest.memory:
            left = f"nothing is left of the {format_bytes(smallest.memory)} of '{smallest.name}'"
            yield Problem(("memory", key), f"found {format_bytes(held)}; {left}")


def rank_problems(strategy: StrategyOptions, topology: Topology) -> Iterator[Problem]:
    """Yield a problem when the mesh has more or fewer ranks than there are devices."""
    mesh, devices = strategy.mesh(), len(topology.devices)
    if mesh.ranks == devices:
        return
    axes = " x ".join(f"{axis} {degree}" for axis, degree in mesh.axes)
    yield Problem(
        ("strategy", "degree") if "degree" in type(strategy).model_fields else ("strategy",),
        f"makes {mesh.ranks} ranks ({axes}), but topology '{topology.name}' has {devices} "
        f"devices: {_ways_out(strategy, topology)}",
    )


def _ways_out(strategy: StrategyOptions, topology: Topology) -> str:
    """Return what would make ranks as many as devices."""
    ranks, devices = strategy.mesh().ranks, len(topology.devices)
    replica, nodes = ranks // strategy.dp, topology.node(devices - 1) + 1
    fills = devices % replica == 0
    ways = [f"topology.ranks={ranks}"]
    if nodes > 1:
        whole = ranks * nodes % devices == 0
        ways = [f"topology.nodes={ranks * nodes // devices}"] if whole else []
    if strategy.dp == 1 and not (fills and nodes > 1):
        ways += _other_degrees(strategy, devices)
    if not fills and len(ways) < 2:
        ways.append("other degrees")
    sentences = [f"set {' or '.join(ways)}"] if ways else []
    return "; ".join(sentences + [f"strategy.dp={devices // replica} would fill them"] * fills)


def _other_degrees(strategy: StrategyOptions, devices: int) -> list[str]:
    """Return the degrees, each on its own, that would make as many ranks as there are devices."""
    stages = strategy.pp.stages if strategy.pp else 1
    inner = strategy.mesh().ranks // stages
    ways = []
    if "degree" in type(strategy).model_fields and devices % stages == 0:
        ways.append(f"strategy.degree={devices // stages}")
    if strategy.pp and devices % inner == 0:
        ways.append(f"strategy.pp.stages={devices // inner}")
    return ways
