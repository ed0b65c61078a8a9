"""The results of the study of inference as its page needs them, and its closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tspsim.model import ModelShape
from tspsim.scenario.types import Scenario
from tspsim.sweeps import study as studies

STUDY = Path(__file__).parent.parent.parent / "scenarios" / "studies" / "tsp-inference.yaml"
RANKS = 8
#: Bytes of an element, and of a number by which partial outputs are merged.
ELEMENT, SCORE = 2, 4
MACHINES = {"mi300x-node.yaml": "8 MI300X", "h100-node.yaml": "8 H100"}
#: Models by their file and key/value heads.
MODELS = {
    "Llama-3-8B": ("llama-3-8b", 8), "Llama-3-70B": ("llama-3-70b", 8),
    "70B, 2 K/V heads": ("llama-3-70b", 2), "DeepSeek-V2-Lite": ("deepseek-v2-lite", 16),
}  # fmt: skip


class Point(NamedTuple):
    """A row of the results.

    Attributes
    ----------
    machine, model, layout : str
        As the page calls them.
    phase : {"prefill", "decode"}
    tokens : int
        Of a prompt; in the cache of a sequence that decodes.
    cached : int
        Of a prompt.
    chunk : int
        Tokens of a prompt in one step at most.
    batch : int
    seconds : float
        To the first token, or per token.
    exposed : float
        Share of the last step.
    peak, spared : float
        Bytes, and what the device has beyond them.
    cache, received : float
        Bytes of a rank at the peak; in the last step.
    fits : bool
    """

    machine: str
    model: str
    layout: str
    phase: str
    tokens: int
    cached: int
    chunk: int
    batch: int
    seconds: float
    exposed: float
    peak: float
    spared: float
    cache: float
    received: float
    fits: bool

    @property
    def kind(self) -> str:
        """The strategy, whatever its options and degrees."""
        return "TP x SP" if " x " in self.layout else self.layout.split(",")[0]


def points(rows: Sequence[Mapping[str, str]]) -> list[Point]:
    """Return the rows of the committed table."""
    return [_point(row) for row in rows]


def _point(row: Mapping[str, str]) -> Point:
    cached = int(row["workload.cached"])
    tokens = int(row["workload.prompt"] or cached)
    peak = float(row["memory.peak"])
    return Point(
        MACHINES[row["topology.file"]],
        _model(row["model.hf"], int(row["model.kv_heads"])),
        _layout(_read(row["strategy"])),
        row["workload.phase"],
        tokens,
        cached,
        int(row["workload.chunk"] or tokens),
        int(row["workload.batch"]),
        float(row["inference.latency"]),
        float(row["time.exposed_communication"]) / float(row["step_time"]),
        peak,
        float(row["memory.capacity"]) - peak,
        float(row["memory.at_peak.kv_cache"]),
        float(row["communication.received_bytes_per_rank"]),
        row["status"] == "ok",
    )


_read = cache(yaml.safe_load)


def _model(file: str, kv_heads: int) -> str:
    return next(name for name, said in MODELS.items() if said == (Path(file).parent.name, kv_heads))


def _layout(keys: Mapping[str, Any]) -> str:
    kind = keys["kind"]
    if kind == "tp_sp":
        return f"TP {keys['tp']} x SP {keys['sp']}"
    parts = [kind.upper()]
    if kind == "tsp":
        parts.append("stays" if keys["weights"] == "stay" else "travels")
    parts += [name for name in ("queries", "ring") if name in keys.values()]
    return ", ".join(parts)


def decoding(found: Iterable[Point]) -> list[Point]:
    """Return what decodes."""
    return [p for p in found if p.phase == "decode"]


def prompts(found: Iterable[Point], *, cached: bool = False) -> list[Point]:
    """Return the prompts of which nothing, or a part, is cached."""
    return [p for p in found if p.phase == "prefill" and (p.cached > 0) == cached]


def fastest(some: Iterable[Point]) -> Point | None:
    """Return the fastest of those that fit."""
    return min((p for p in some if p.fits), key=lambda p: p.seconds, default=None)


def lead(some: Sequence[Point]) -> float:
    """Return by how much longer the best of another strategy takes than the fastest; inf: none."""
    best = fastest(some)
    other = fastest(p for p in some if best and p.kind != best.kind)
    return other.seconds / best.seconds - 1 if best and other else math.inf


def most_sequences(some: Iterable[Point]) -> int:
    """Return how many sequences fit, by the memory of two batches: it grows in a line."""
    one, many = sorted(some, key=lambda p: p.batch)[-2:]
    each = (many.peak - one.peak) / (many.batch - one.batch)
    return max(math.floor(one.batch + one.spared / each + 1e-9), 0)


def met(one: Sequence[Point], other: Sequence[Point]) -> float | None:
    """Return the cached tokens from which on the first is faster; 0 everywhere, None nowhere.

    Both take time in a line over what is cached, between two lengths that were run.
    """
    gaps = sorted(
        (p.tokens, q.seconds - p.seconds) for p in one for q in other if p.tokens == q.tokens
    )
    if gaps[-1][1] <= 0:
        return None
    behind = [place for place, (_, gap) in enumerate(gaps) if gap <= 0]
    if not behind:
        return 0.0
    (low, before), (high, after) = gaps[behind[-1]], gaps[behind[-1] + 1]
    return low - before * (high - low) / (after - before)


# ---- closed forms --------------------------------------------------------------------------------


@cache
def scenario(model: str, machine: str = "8 H100") -> Scenario:
    """Return a scenario of the study."""
    (file,) = (file for file, name in MACHINES.items() if name == machine)
    name, kv_heads = MODELS[model]
    ways = (
        f"topology.file={file}", f"model.hf=models/{name}/config.json",
        f"model.kv_heads={kv_heads}", "strategy.replicate_kv_heads=true",
    )  # fmt: skip
    return studies.load(STUDY).opened.scenario(ways)


def shape(model: str) -> ModelShape:
    """Return a model of the study."""
    return scenario(model).model


def memory_bandwidth(machine: str) -> float:
    """Return the stated bytes per second of a device's memory."""
    return scenario("Llama-3-8B", machine).topology.devices[0].memory_bandwidth


def weights(model: ModelShape) -> int:
    """Return the elements of a layer's matrices."""
    return model.attention_weights + model.mlp_weights


def reduced(model: ModelShape, ranks: int = RANKS) -> float:
    """Return the bytes that two all-reduces of a layer bring a rank, per token it multiplies."""
    return ELEMENT * 4 * (ranks - 1) / ranks * model.hidden


def queried(model: ModelShape, heads: int, ranks: int = RANKS) -> float:
    """Return those of heads gathered, and of partial outputs that come back with their score.

    ``heads`` are those gathered: of queries alone, or with keys and values of the new token.
    """
    partial = model.heads * (ELEMENT * model.head_dim + SCORE)
    return (ranks - 1) / ranks * (ELEMENT * heads * model.head_dim + partial)


def received(model: ModelShape, layout: str, batch: int) -> float:
    """Return the bytes that a rank receives in a layer for one token of every sequence.

    Keys and values of repeated heads come from every rank that computes them.
    """
    own = max(model.kv_heads, RANKS)
    moved = {
        "TP": batch * reduced(model),
        "SP": batch * queried(model, model.heads),
        "TSP, stays": batch * (reduced(model) + queried(model, model.heads + 2 * own)),
        "TSP, travels": batch * queried(model, model.heads)
        + ELEMENT * (RANKS - 1) / RANKS * weights(model),
    }
    if layout in moved:
        return moved[layout]
    tp, sp = (int(part.split()[1]) for part in layout.split(" x "))
    return batch * (reduced(model, tp) / sp + queried(model, model.heads, sp) / tp)


def held(model: ModelShape, layout: str) -> float:
    """Return the bytes of a rank's cache for one token in a layer."""
    tp = {"TP": RANKS, "SP": 1, "TSP, stays": 1, "TSP, travels": 1}.get(layout)
    tp = int(layout.split()[1]) if tp is None else tp
    heads = max(model.kv_heads / tp, 1)
    return 2 * heads * model.head_dim * ELEMENT / (RANKS / tp)


def equal_chunk(model: ModelShape) -> float:
    """Return the tokens of a step at which TSP's weights and keys are as many bytes as TP's sums.

    Nothing cached: ``W + 2 n d t = 4 h t``.
    """
    return weights(model) / (4 * model.hidden - 2 * model.kv_heads * model.head_dim)


def equal_cached(model: ModelShape) -> float:
    """Return the cached tokens whose keys and values are as many bytes as a layer's weights."""
    return weights(model) / (2 * model.kv_heads * model.head_dim)


def cut_pays(model: ModelShape, bandwidth: float, longer: float) -> float:
    """Return the cached tokens, of all sequences, from which on a cache cut by tokens pays.

    TP reads a repeated head on every rank, ``2 d`` elements a token and layer; cut by tokens it is
    ``n / D`` of that. ``longer`` is what TSP's messages take more, in seconds of a step.
    """
    spared = 2 * model.head_dim * ELEMENT * (1 - model.kv_heads / RANKS)
    return longer / model.layers * bandwidth / spared
