"""``model.experts``, ``workload.routing`` and ``strategy.experts`` of Megatron-LM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.draft import Key
from tspsim.scenario.interop.megatron_mesh import Mesh
from tspsim.scenario.interop.megatron_model import key, pattern

EP, ETP = "expert-model-parallel-size", "expert-tensor-parallel-size"
_DISPATCHER = "moe-token-dispatcher-type"


class Place(NamedTuple):
    """Where experts lie, as ``strategy.experts`` says it."""

    layout: str
    over: tuple[str, ...]
    degree: int | None = None
    cut: tuple[str, ...] = ()


def experts_of(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    """Yield the keys of a mixture of experts, if there is one."""
    if not line.get("num-experts"):
        return
    where = "model.experts"
    yield key(line, f"{where}.count", line.get("num-experts"), "num-experts")
    yield key(line, f"{where}.active", line.get("moe-router-topk"), "moe-router-topk")
    if line.has("moe-ffn-hidden-size"):
        yield key(line, f"{where}.width", line.get("moe-ffn-hidden-size"), "moe-ffn-hidden-size")
    shared = "moe-shared-expert-intermediate-size"
    if line.has(shared):
        yield key(line, f"{where}.shared", line.get(shared), shared)
    dense = dense_in_front(line)
    if dense:
        yield key(line, f"{where}.first_dense", dense, "moe-layer-freq")
    yield from _router(line)
    if line.has("moe-expert-capacity-factor"):
        flag = "moe-expert-capacity-factor"
        yield key(line, "workload.routing.capacity", line.get(flag), flag)
    yield from _spread(line, mesh)


def dense_in_front(line: CommandLine) -> int | None:
    """Return how many layers in front have an MLP, where all others have experts; else None."""
    text = line.get("moe-layer-freq")
    if text == "1":
        return 0
    layers = pattern(text)
    if layers is None or len(layers) != line.get("num-layers") or 1 not in layers:
        return None
    first = layers.index(1)
    return first if all(layers[first:]) else None


def _router(line: CommandLine) -> Iterator[Key]:
    where, score = "model.experts.router", line.get("moe-router-score-function")
    yield key(line, f"{where}.score", score, "moe-router-score-function")
    before = score == "softmax" and line.has("moe-router-pre-softmax")
    yield key(line, f"{where}.normalise", not before, "moe-router-pre-softmax")
    for name, flag in (
        ("scale", "moe-router-topk-scaling-factor"),
        ("groups", "moe-router-num-groups"),
        ("top_groups", "moe-router-group-topk"),
        ("correction", "moe-router-enable-expert-bias"),
        ("balance_loss", "moe-aux-loss-coeff"),
        ("z_loss", "moe-z-loss-coeff"),
    ):
        if line.has(flag):
            yield key(line, f"{where}.{name}", line.get(flag), flag)


def placed(line: CommandLine, mesh: Mesh) -> Place | None:
    """Return where experts lie; None where tspsim has no such place."""
    return place(line.get(EP), line.get(ETP) or mesh.tp, mesh)


def place(ways: int, cut: int, mesh: Mesh) -> Place | None:
    """Return where experts of so many ranks, each cut over so many, lie; None where nowhere.

    They are dealt out over the ranks inside of a pipeline's stage: those that an expert is cut
    over innermost, then those of experts, over context and data parallelism.
    """
    if cut not in (1, mesh.tp):
        return None
    whole = cut == mesh.tp > 1
    if ways == 1:
        if mesh.tp > 1:
            return Place("tensor", ("tp",)) if whole else None
        return Place("tokens", ("dp",), 1)
    inner = [("tp", mesh.tp)] if mesh.tp > 1 and not whole else []
    inner += [("sp", mesh.cp)] if mesh.cp > 1 else []
    over: list[str] = []
    left = ways
    for name, degree in inner:
        if left % degree:
            return None
        over, left = [*over, name], left // degree
        if left == 1:
            break
    replicas = left > 1
    over += ["dp"] if replicas else []
    return Place("tokens", tuple(over), ways if replicas else None, ("tp",) if whole else ())


def _spread(line: CommandLine, mesh: Mesh) -> Iterator[Key]:
    found, where = placed(line, mesh), "strategy.experts"
    assert found is not None, "checked before"
    sent = line.get(_DISPATCHER) == "allgather" and found.layout == "tokens"
    note = "not modelled: every row to every rank; rows go to their experts" if sent else ""
    yield key(line, f"{where}.layout", found.layout, EP, ETP, _DISPATCHER, note=note)
    yield key(line, f"{where}.over", list(found.over), EP, ETP)
    if found.degree is not None:
        yield key(line, f"{where}.degree", found.degree, EP)
    if found.cut:
        yield key(line, f"{where}.cut", list(found.cut), ETP)
    if line.has("moe-enable-deepep") and not found.cut and found.layout == "tokens":
        once = "node" if len(found.over) > 1 else "rank"
        yield key(line, f"{where}.once", once, "moe-enable-deepep")
    overlap = "overlap-moe-expert-parallel-comm"
    if line.has(overlap) and mesh.pp == 1:
        yield key(line, f"{where}.overlap", "forward_backward", overlap)
