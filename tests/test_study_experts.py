"""The study of experts: its closed form is that of the recorded programs, its page that of both."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from studies import regenerate
from studies.expert_lines import DRAW, RING, TOKENS, clear, crossing, layer, places, told
from studies.expert_points import (
    FORWARD,
    MODELS,
    RECOMPUTED,
    TRAINED,
    Point,
    equal_bytes,
    equal_times,
    experts,
    fastest,
    lead,
    points,
    rates,
    shape,
)
from tests.schedules import degree_of, program
from tspsim.model import ModelShape, Workload

#: What is counted: rows of tokens and back, or experts' weights and their gradients.
EXPERTS = ("dispatch", "combine", "experts", "dexperts")
#: A step forward, a trained one, and one that runs its layers again: ranks, options and passes.
STEPS: dict[str, tuple[int, dict[str, Any], float]] = {
    "forward": (8, {"phase": "forward"}, FORWARD),
    "forward on two": (2, {"phase": "forward"}, FORWARD),
    "trained": (8, {"phase": "train"}, TRAINED),
    "recomputed": (8, {"phase": "train", "recompute": "full"}, RECOMPUTED),
}


def moved(
    model: ModelShape, tokens: int, degree: int, options: dict[str, Any], **spread: Any
) -> float:
    """Return the bytes of expert traffic that a rank receives, by the recorded program."""
    workload = Workload(sequence=degree * tokens, batch=1, causal="off", **options)
    variant = ("tsp", {"degree": degree, "replicate_kv_heads": True, "experts": spread})
    recorded, mesh = program(variant, model, workload)
    found = [op for op in recorded.ops if op.message and op.label in EXPERTS]
    assert found
    degrees = {op.lane: degree_of(op, recorded, mesh) for op in found}
    return sum(op.message.received(degrees[op.lane]) for op in found if op.message)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shards", ["experts", "columns"])
@pytest.mark.parametrize("name", MODELS.values())
def test_by_bytes_alone_the_winner_flips_at_the_closed_form(
    name: str, shards: str, step: str
) -> None:
    """At it both move as many bytes; a round of tokens to every expert fewer or more decides."""
    degree, options, passes = STEPS[step]
    model = shape(name)
    assert model.experts is not None
    tokens, a_round = equal_bytes(model.experts, passes), model.experts.count
    assert tokens == int(tokens)
    ring = moved(model, int(tokens), degree, options, layout="ring", shards=shards)
    fewer, equal, more = (
        moved(model, int(tokens) + change, degree, options, layout="tokens")
        for change in (-a_round, 0, a_round)
    )
    assert fewer < ring == equal < more


@pytest.mark.parametrize("machine", ["8 MI300X", "8 H100", "64 of an NVL72"])
@pytest.mark.parametrize("passes", [FORWARD, TRAINED])
@pytest.mark.parametrize("name", MODELS.values())
def test_at_the_form_with_peak_rates_hops_take_as_long_as_tokens_and_products(
    name: str, passes: float, machine: str
) -> None:
    """All written out, for the ranks of the machine."""
    model, of = shape(name), rates(machine)
    found, ranks = experts(name), int(machine.split()[0])
    tokens = equal_times(found, passes, of)
    share = (ranks - 1) / ranks
    ring = passes * share * 3 * found.count * model.hidden * found.width * 2 / of.hop
    rows = tokens * found.active
    sent = 2 * rows * share * model.hidden * 2 / of.ports
    products = passes * 6 * rows * model.hidden * found.width / of.flops
    assert ring == pytest.approx(sent + share * products, rel=1e-12)


# ---- the page ------------------------------------------------------------------------------------


@cache
def results() -> list[Point]:
    """Return the committed results."""
    return points(regenerate.results("tsp-experts"))


@cache
def page() -> str:
    """Return the page, on one line."""
    return " ".join((regenerate.PAGES / "tsp-experts.md").read_text(encoding="utf-8").split())


def of(machine: str, model: str) -> list[Point]:
    """Return the results of a model on a machine."""
    return [p for p in results() if p[:2] == (machine, model)]


def test_the_page_states_the_closed_form() -> None:
    """Forward and trained, as whole numbers."""
    told = [
        f"{name} {equal_bytes(experts(name)):,.0f} and {equal_bytes(experts(name), TRAINED):,.0f}"
        for name in MODELS.values()
    ]
    assert f"Forward and trained: {'; '.join(told)} tokens of a rank." in page()


def test_the_answer_on_experts_is_that_of_the_results() -> None:
    """From where on the ring is clearly ahead, and that it is not at 8K and less."""
    h100, rack, mi300x = "8 H100", "8 of an NVL72", "8 MI300X"

    def first(model: str, *machines: str, skewed: bool = False) -> list[str]:
        return [told(clear(of(machine, model), skewed=skewed)) for machine in machines]

    olmoe, qwen = (first(name, h100, rack, mi300x) for name in ("OLMoE", "Qwen3-30B-A3B"))
    mixtral = first("Mixtral 8x7B", h100, rack, mi300x, skewed=True)
    assert (
        f"from {olmoe[0]} tokens of a rank for OLMoE and {qwen[0]} for Qwen3-30B-A3B on eight "
        f"H100, from {olmoe[1]} and {qwen[1]} on eight of an NVL72, and from {olmoe[2]} and "
        f"{qwen[2]} on eight MI300X. Mixtral 8x7B never comes out of a draw, unless routing is "
        f"skewed: then from {mixtral[0]}, {mixtral[1]} and {mixtral[2]}."
    ) in page()
    nowhere = [clear(of(m, "Mixtral 8x7B")) for m in (h100, rack, mi300x)]
    for skewed in (False, True):
        nowhere += [clear(of(m, "DeepSeek-V3"), skewed=skewed) for m in (h100, rack, mi300x)]
    assert set(nowhere) == {None}


def leads(*, skewed: bool) -> dict[tuple[str, str, int], float]:
    """Return the leads of the ring, trained, by machine, model and tokens of a rank."""
    found = {}
    for place in places(results()):
        some = [p for p in of(*place) if p.phase == "train" and p.skewed == skewed]
        ring, tokens = fastest(some, *RING), fastest(some, *TOKENS)
        found |= {(*place, n): 100 * lead(ring[n], tokens[n]) for n in ring}
    return found


def test_what_is_said_of_leads_is_in_the_results() -> None:
    """The largest, how much longer the ring takes at few tokens, and who is a draw at 8K."""
    even, uneven = leads(skewed=False), leads(skewed=True)
    assert (
        f"by up to {max(even.values()):.0f} % balanced and {max(uneven.values()):.0f} % skewed"
        in page()
    )
    both = [*even.items(), *uneven.items()]
    longer = [1 / (1 + by / 100) for (_, _, tokens), by in both if tokens == 1024]
    assert f"takes {min(longer):.1f} to {max(longer):.0f} times as long" in page()
    draws = {place[:2] for place, by in both if place[2] <= 8192 and by > -DRAW}
    assert draws == {("8 H100", "OLMoE"), ("8 H100", "Mixtral 8x7B")}
    assert max(by for place, by in both if place[2] <= 8192) < DRAW


def test_what_is_said_of_skew_and_memory_is_in_the_results() -> None:
    """How far crossings move, that columns do not feel it, and two peaks."""
    moved = []
    for machine, model in places(results()):
        if model != "DeepSeek-V3":
            whole, part = (crossing(of(machine, model), "train", skewed=s) for s in (False, True))
            assert whole and part
            moved.append(100 * (1 - part / whole))
    assert (
        f"by {min(moved):.0f} to {max(moved):.0f} % for OLMoE, Qwen3-30B-A3B and Mixtral" in page()
    )
    columns = [p for p in results() if p.layout == "ring, columns" and p.phase == "train"]
    steps = [{p[:6]: p.step for p in columns if p.skewed == s} for s in (False, True)]
    even, uneven = ({(k[0], k[1], k[5]): v for k, v in some.items()} for some in steps)
    assert even == uneven
    peaks = [
        f"{p.peak / 2**30:.0f}"
        for p in of("8 H100", "DeepSeek-V3")
        if p.tokens == 16384 and p.phase == "train" and not p.skewed
        if p.layout in ("tokens", "ring")
    ]
    assert f"ring needs {peaks[1]} GiB for its layer, tokens {peaks[0]}" in page()


def test_what_is_said_of_a_ring_over_all_links_is_the_closed_form() -> None:
    """On MI300X, for two models."""
    one = rates("8 MI300X")
    every = one._replace(hop=one.ports)
    olmoe, qwen = (
        [told(equal_times(experts(name), TRAINED, links)) for links in (every, one)]
        for name in ("OLMoE", "Qwen3-30B-A3B")
    )
    assert (
        f"the crossing of OLMoE at {olmoe[0]} tokens of a rank instead of {olmoe[1]}, "
        f"and of Qwen3-30B-A3B at {qwen[0]} instead of {qwen[1]}"
    ) in page()


def test_what_is_said_of_the_layer_that_is_drawn_is_what_it_takes() -> None:
    """How much earlier the ring ends."""
    steps = [layer(name).summary.step_time for name in ("tokens", "ring")]
    assert f"the ring ends {1e3 * (steps[0] - steps[1]):.1f} ms earlier" in page()
