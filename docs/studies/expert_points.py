"""The results of the study of experts as its page needs them, and the closed forms beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from tspsim.experts import Experts
from tspsim.model import ModelShape
from tspsim.scenario.types import Scenario
from tspsim.sweeps import study as studies

STUDY = Path(__file__).parent.parent.parent / "scenarios" / "studies" / "tsp-experts.yaml"
#: Models by the experts of a layer.
MODELS = {64: "OLMoE", 128: "Qwen3-30B-A3B", 8: "Mixtral 8x7B", 256: "DeepSeek-V3"}
#: Machines by file and ranks.
MACHINES = {
    ("mi300x-node.yaml", 8): "8 MI300X", ("h100-node.yaml", 8): "8 H100",
    ("gb200-nvl72.yaml", 8): "8 of an NVL72", ("gb200-nvl72.yaml", 64): "64 of an NVL72",
}  # fmt: skip
#: How often weights go round the ring for every time that tokens go and come back: forward;
#: trained (weights again in backward, and their gradients); trained with full recompute.
FORWARD, TRAINED, RECOMPUTED = 1, 3 / 2, 4 / 3

# ---- closed forms --------------------------------------------------------------------------------


def equal_bytes(experts: Experts, passes: float = FORWARD) -> float:
    """Return the tokens of a rank at which weights on a ring are as many bytes as tokens.

    A rank receives ``(D-1)/D 3 E h f`` elements of weights a pass, and ``2 k n (D-1)/D h`` of
    tokens, gated experts and balanced routing assumed: ``passes 1.5 E f / k`` (page).
    """
    return passes * 1.5 * experts.count * experts.width / experts.active


def equal_times(experts: Experts, passes: float, rates: Rates) -> float:
    """Return the tokens of a rank at which ring and tokens take as long, by peak rates.

    Tokens travel before and behind the products, weights beside all of these but the first of D
    turns. So the ring is faster where its hops take less than the tokens' way and as much of the
    products: ``(D-1)/D`` of both, and D cancels (page).
    """
    products = 1.5 * passes * experts.width * rates.hop / rates.flops
    return equal_bytes(experts, passes) / (rates.hop / rates.ports + products)


class Rates(NamedTuple):
    """Peak rates of a machine, as the closed form needs them.

    Attributes
    ----------
    flops : float
        Of a device, per second.
    hop, ports : float
        Bytes per second and direction from a device to its neighbour, and to all others at once.
    """

    flops: float
    hop: float
    ports: float


@cache
def rates(machine: str) -> Rates:
    """Return the rates of a machine of the study."""
    (file, ranks), *_ = (key for key, name in MACHINES.items() if name == machine)
    ways = f"topology.file={file}", f"topology.ranks={ranks}", f"strategy.degree={ranks}"
    topology = _scenario(*ways, _of("DeepSeek-V3")).topology
    hop = min(topology.links[i].bandwidth for i in topology.route(0, 1))
    ports = sum(link.bandwidth for link in topology.links if link.source == "d0")
    return Rates(topology.devices[0].peak("bf16"), hop, ports)


def _of(model: str) -> str:
    """Return the override that sets a model of the study."""
    (axis,) = (axis for axis in studies.load(STUDY).axes if axis.key == "model")
    (keys,) = (keys for keys in axis.values if MODELS[keys["experts"]["count"]] == model)
    return f"model={json.dumps(keys)}"


def _scenario(*overrides: str) -> Scenario:
    return studies.load(STUDY).opened.scenario(overrides)


@cache
def shape(model: str) -> ModelShape:
    """Return the layer of a model of the study."""
    return _scenario(_of(model)).model


def experts(model: str) -> Experts:
    """Return the experts of that layer."""
    return cast(Experts, shape(model).experts)


# ---- results -------------------------------------------------------------------------------------


class Point(NamedTuple):
    """A row of the results.

    Attributes
    ----------
    machine, model, layout : str
        As the page calls them.
    phase : {"forward", "train"}
    skewed : bool
    tokens : int
        Of a rank.
    step, exposed : float
        Seconds.
    peak : float
        Bytes.
    fits : bool
    """

    machine: str
    model: str
    layout: str
    phase: str
    skewed: bool
    tokens: int
    step: float
    exposed: float
    peak: float
    fits: bool


def points(rows: Sequence[Mapping[str, str]]) -> list[Point]:
    """Return the rows of the committed table."""
    return [_point(row) for row in rows]


def _point(row: Mapping[str, str]) -> Point:
    degree = int(row["strategy.degree"])
    return Point(
        MACHINES[row["topology.file"], degree],
        MODELS[yaml.safe_load(row["model"])["experts"]["count"]],
        _layout(yaml.safe_load(row["strategy.experts"])),
        row["workload.phase"],
        yaml.safe_load(row["workload.routing"])["kind"] != "balanced",
        8192 // degree * int(row["workload.batch"]),
        *(float(row[f"{k}"]) for k in ("step_time", "time.exposed_communication", "memory.peak")),
        row["status"] == "ok",
    )


def _layout(spread: Mapping[str, Any]) -> str:
    if spread["layout"] == "tokens":
        pieces = f", {spread['pieces']} pieces" if "pieces" in spread else ""
        return "tokens, once" if "once" in spread else f"tokens{pieces}"
    return "ring, columns" if "shards" in spread else str(spread["layout"])


def fastest(some: Iterable[Point], *layouts: str) -> dict[int, Point]:
    """Return the fastest point by the tokens of a rank, of layouts that begin so."""
    found: dict[int, Point] = {}
    for point in some:
        best = found.get(point.tokens)
        if point.layout.startswith(layouts) and (best is None or point.step < best.step):
            found[point.tokens] = point
    return dict(sorted(found.items()))


def lead(ring: Point, tokens: Point) -> float:
    """Return by how much more the ring does in the same time; negative where it is slower."""
    return tokens.step / ring.step - 1


def turn(ring: Mapping[int, Point], tokens: Mapping[int, Point]) -> float | None:
    """Return the tokens of a rank from which on the ring is faster; 0 everywhere, None nowhere."""
    from studies.regenerate import crossing

    def speeds(found: Mapping[int, Point]) -> dict[float, float]:
        return {float(place): place / point.step for place, point in found.items()}

    return crossing(speeds(ring), speeds(tokens))


def near(found: Mapping[int, Point], tokens: float) -> Point:
    """Return the point at the number of tokens that is nearest, in the logarithm."""
    return found[min(found, key=lambda place: abs(math.log(place / tokens)))]
