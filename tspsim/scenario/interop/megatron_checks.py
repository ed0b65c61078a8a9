"""What is missing on a command line of Megatron-LM, and which of its flags contradict."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.flags import whole
from tspsim.scenario.interop.megatron_experts import EP, ETP, dense_in_front, placed
from tspsim.scenario.interop.megatron_mesh import CP, PP, TP, Mesh, mesh_of
from tspsim.scenario.interop.megatron_model import window
from tspsim.scenario.interop.megatron_stages import (
    CHUNKS,
    EACH,
    EMBEDDING,
    FIRST,
    LAST,
    LOSS,
    chunks,
    counted,
    layers,
)

_NEEDED = {
    "num-layers": "the decoder's layers",
    "hidden-size": "the width of the residual stream",
    "num-attention-heads": "the query heads",
    "seq-length": "tokens of one sequence",
    "micro-batch-size": "sequences of a micro-batch",
}
#: Of two flags that stand in one row only one can be given.
_EITHER = (
    ("bf16", "fp16"),
    ("swiglu", "quick-geglu"),
    (EACH, CHUNKS),
    ("use-torch-fsdp2", "use-distributed-optimizer"),
    ("use-torch-fsdp2", "use-megatron-fsdp"),
    ("qk-layernorm", "qk-l2-norm"),
)
#: Flag -> what it needs.
_WITH = {
    "overlap-param-gather": ("overlap-grad-reduce",),
    "moe-router-num-groups": ("moe-router-group-topk",),
    "moe-router-group-topk": ("moe-router-num-groups",),
    EP: ("num-experts",),
}
_VALUES = {
    "position-embedding-type": ("learned_absolute", "rope", "none"),
    "softmax-type": ("vanilla", "learnable"),
}


def contradictions(line: CommandLine, world: int | None) -> Iterator[str]:
    """Yield a line for everything that is missing, contradicts, or is not modelled at all."""
    wrong = [*_missing(line, world), *_flags(line)]
    yield from wrong
    if wrong or world is None:
        return
    mesh = mesh_of(line, world)
    if world % (mesh.tp * mesh.cp * mesh.pp):
        product = f"{mesh.tp} x {mesh.cp} x {mesh.pp} (tensor, context, pipeline)"
        flag = next((name for name in (TP, CP, PP) if line.has(name)), TP)
        ways = mesh.tp * mesh.cp * mesh.pp
        near = max(1, world // ways) * ways
        yield line.line(flag, f"{product} do not divide {world} devices; {near} would be fine")
        return
    yield from _batch(line, mesh)
    yield from _sequence(line, mesh)
    yield from _stages(line, mesh)
    yield from _recompute(line, mesh)
    if line.get("num-experts"):
        yield from _experts(line, mesh)


def _missing(line: CommandLine, world: int | None) -> Iterator[str]:
    for flag, what in _NEEDED.items():
        if not line.has(flag):
            yield f"{line.name}: --{flag}: missing: {what}"
    if not line.has("vocab-size") and not line.has("padded-vocab-size"):
        message = "missing: the tokenizer, which says it, is not read; add for example"
        yield f"{line.name}: --vocab-size: {message} --vocab-size 128256 (Llama 3's)"
    if world is None:
        message = "found no number of devices; put the launcher in front (torchrun"
        message += " --nproc_per_node 8 --nnodes 4 pretrain_gpt.py ...), or add --world-size 32"
        yield f"{line.name}: {message}"


def _flags(line: CommandLine) -> Iterator[str]:
    for one, other in _EITHER:
        if line.has(one) and line.has(other):
            yield line.line(other, f"contradicts --{one}, at {line.place(one)}; leave one out")
    for flag, needed in _WITH.items():
        stated = line.get(flag) is True or (line.get(flag) or 0) > 1
        for other in needed:
            if stated and not line.has(other):
                yield line.line(flag, f"needs --{other}, which is not given")
    sharing = ("use-distributed-optimizer", "use-megatron-fsdp")
    if line.has("overlap-param-gather") and not any(map(line.has, sharing)):
        yield line.line("overlap-param-gather", f"needs --{sharing[0]}, which is not given")
    for flag, allowed in _VALUES.items():
        if line.get(flag) not in allowed:
            message = f"found '{line.get(flag)}', which is not modelled; allowed here: "
            yield line.line(flag, message + ", ".join(allowed))
    yield from _patterns(line)


def _patterns(line: CommandLine) -> Iterator[str]:
    if line.has("window-size") and window(line) is None:
        flag = "window-attn-skip-freq" if line.has("window-attn-skip-freq") else "window-size"
        message = "keys before a query's own, and 0: 4095,0; or one layer in so many without, or a"
        yield line.line(flag, f"found '{line.get(flag)}'; must be {message} list: ([1]*3+[0])*8")
    every = line.get("no-rope-freq")
    if every is not None and (whole(every) or 0) < 2:
        message = "one layer in so many, such as 4; lists are not modelled"
        yield line.line("no-rope-freq", f"found '{every}'; must be {message}")
    types = line.get("cp-comm-type")
    if len(set(types)) != 1:
        message = "one for all layers: p2p, a2a, allgather or a2a+p2p"
        yield line.line("cp-comm-type", f"found '{' '.join(types)}'; must be {message}")
    sizes = "hierarchical-context-parallel-sizes"
    if "a2a+p2p" in types and len(line.get(sizes) or ()) != 2:
        yield line.line("cp-comm-type", f"a2a+p2p needs --{sizes} with two degrees")


def _batch(line: CommandLine, mesh: Mesh) -> Iterator[str]:
    total, each = line.get("global-batch-size"), line.get("micro-batch-size") * mesh.dp
    if total is None or total % each == 0:
        return
    below, above = total // each * each, (total // each + 1) * each
    near = f"{below} or {above}" if below else str(above)
    message = f"found {total}; is no multiple of {line.get('micro-batch-size')} x {mesh.dp} "
    message += f"(micro-batch, replicas): {near} would be"
    yield line.line("global-batch-size", message)


def _sequence(line: CommandLine, mesh: Mesh) -> Iterator[str]:
    tokens, longest = line.get("seq-length"), line.get("max-position-embeddings")
    if longest is not None and longest < tokens:
        message = f"found {longest}; must be at least --seq-length, {tokens}"
        yield line.line("max-position-embeddings", message)
    if mesh.cp > 1 and tokens % (2 * mesh.cp):
        least = -(-tokens // (2 * mesh.cp)) * 2 * mesh.cp
        message = f"found {tokens}; must be a multiple of 2 x {mesh.cp} (context): {least} is one"
        yield line.line("seq-length", message)
    copies = "num-distributed-optimizer-instances"
    if mesh.dp % line.get(copies):
        message = f"found {line.get(copies)}; must divide {mesh.dp} replicas"
        yield line.line(copies, message)


def _stages(line: CommandLine, mesh: Mesh) -> Iterator[str]:
    given = [flag for flag in (EACH, CHUNKS, FIRST, LAST, EMBEDDING, LOSS) if line.has(flag)]
    if given and mesh.pp == 1:
        for flag in given:
            yield line.line(flag, f"needs --{PP} of 2 or more")
        return
    if not given:
        return
    per_rank = counted(line) // mesh.pp
    if line.has(EACH) and (counted(line) % mesh.pp or per_rank % line.get(EACH)):
        message = f"found {line.get(EACH)}; must divide the layers of a rank, "
        yield line.line(EACH, f"{message}{counted(line)} / {mesh.pp}")
    elif layers(line, mesh.pp) is None:
        many = chunks(line, mesh.pp)
        message = f"{counted(line)} layers cannot be dealt out to {mesh.pp} ranks of {many} stages"
        yield line.line(given[0], message)


def _recompute(line: CommandLine, mesh: Mesh) -> Iterator[str]:
    granularity, method = line.get("recompute-granularity"), line.get("recompute-method")
    count = line.get("recompute-num-layers")
    if granularity == "full" and method is None:
        yield line.line("recompute-granularity", "full needs --recompute-method: uniform or block")
    if granularity != "full" and method is not None:
        yield line.line("recompute-method", "needs --recompute-granularity full")
    there = -(-counted(line) // (mesh.pp * chunks(line, mesh.pp)))
    if method == "block" and (count or 0) < there:
        message = f"found {count or 'nothing'}; a part of the layers is not modelled; allowed: all "
        yield line.line("recompute-num-layers", f"{message}{there} of a stage")


def _experts(line: CommandLine, mesh: Mesh) -> Iterator[str]:
    count, ways = line.get("num-experts"), line.get(EP)
    if count % ways:
        yield line.line(EP, f"found {ways}; must divide {count} experts")
    elif mesh.world // mesh.pp % ((line.get(ETP) or mesh.tp) * ways):
        yield line.line(EP, f"found {ways}; must divide the {mesh.cp * mesh.dp} ranks of a stage")
    elif placed(line, mesh) is None:
        message = f"found {ways}, with expert tensor parallelism of {line.get(ETP) or mesh.tp}; "
        message += f"modelled: one of 1 or {mesh.tp}, and whole axes from the innermost on"
        yield line.line(EP if line.has(EP) else ETP, message)
    if mesh.tp > 1 and not line.has("sequence-parallel"):
        yield line.line(TP, "experts with tensor parallelism need --sequence-parallel")
    if dense_in_front(line) is None:
        message = f"found '{line.get('moe-layer-freq')}'; modelled: 1, or layers in front without "
        yield line.line("moe-layer-freq", f"{message}experts: ([0]*3+[1]*{line.get('num-layers')})")
