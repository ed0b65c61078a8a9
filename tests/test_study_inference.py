"""The study of inference: its closed forms are what programs do, its page says what results say."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import pytest

from studies import regenerate
from studies.inference_lines import DECODE, PREFILL, at, beyond, longer, turns
from studies.inference_points import (
    MACHINES,
    STUDY,
    Point,
    cut_pays,
    decoding,
    equal_cached,
    equal_chunk,
    fastest,
    held,
    lead,
    memory_bandwidth,
    met,
    most_sequences,
    points,
    prompts,
    received,
    shape,
    weights,
)
from tspsim.program.types import Work
from tspsim.runner import simulate_scenario
from tspsim.sweeps import study as studies
from tspsim.topology.hardware import Roofline
from tspsim.topology.load import load_file, parse_profile

MI300X, H100 = MACHINES.values()
SMALL, LARGE, FEW = "Llama-3-8B", "Llama-3-70B", "70B, 2 K/V heads"
LATENT = "DeepSeek-V2-Lite"


@cache
def results() -> list[Point]:
    """Return the committed results."""
    return points(regenerate.results("tsp-inference"))


@cache
def page() -> str:
    """Return the page, on one line."""
    return " ".join((regenerate.PAGES / "tsp-inference.md").read_text(encoding="utf-8").split())


def token(machine: str, model: str, layout: str, cached: int, batch: int) -> Point:
    """Return the point of one decode step."""
    (found,) = at(decoding(results()), machine=machine, model=model, layout=layout,
                  tokens=cached, batch=batch)  # fmt: skip
    return found


def prompt(machine: str, model: str, layout: str, length: int, chunk: int) -> Point:
    """Return the point of a prompt of which nothing is cached."""
    (found,) = at(prompts(results()), machine=machine, model=model, layout=layout,
                  tokens=length, chunk=chunk)  # fmt: skip
    return found


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "layout"), [*product((SMALL, LARGE), DECODE),
                                                *product((FEW,), DECODE[:-1])])  # fmt: skip
def test_bytes_of_a_layer_are_those_of_the_closed_form(model: str, layout: str) -> None:
    """What is left of a step's bytes is of embedding and logits: as much for every sequence."""
    mine = shape(model)
    ends = [
        (token(H100, model, layout, 8192, batch).received
         - mine.layers * received(mine, layout, batch)) / batch
        for batch in (16, 64, 256)
    ]  # fmt: skip
    assert 0 < ends[0] < 3 * (mine.hidden + mine.vocab)
    assert ends == pytest.approx([ends[0]] * 3, abs=0.5)


@pytest.mark.parametrize("layout", DECODE)
@pytest.mark.parametrize("model", [SMALL, LARGE, FEW])
def test_bytes_of_a_cache_are_those_of_the_closed_form(model: str, layout: str) -> None:
    """But for places that no token has: pages that have just begun, on each rank."""
    mine = shape(model)
    found = token(MI300X, model, layout, 131072, 16).cache
    tokens = 16 * 131073
    assert 1 <= found / (mine.layers * tokens * held(mine, layout)) < 1.002


def test_the_page_states_where_weights_are_as_many_bytes() -> None:
    """As TP's sums, and as what is cached."""
    small, large = shape(SMALL), shape(LARGE)
    assert (
        f"{equal_chunk(small):,.0f} tokens for the 8B, {equal_chunk(large):,.0f} for the 70B"
    ) in page()
    assert f"{equal_cached(small):,.0f} and {equal_cached(large):,.0f} tokens" in page()
    tokens = equal_chunk(large)
    keys = 2 * tokens * large.kv_heads * large.head_dim
    assert weights(large) + keys == pytest.approx(4 * tokens * large.hidden)


def test_the_closed_form_of_where_a_cut_cache_pays_is_an_upper_bound() -> None:
    """Of the simulated crossings, by the factor that the page states."""
    factors: list[float] = []
    together: dict[str, list[str]] = {}
    for machine in MACHINES.values():
        for batch in (1, 4, 16, 64):
            turn, behind = turns(results(), machine, batch)
            form = cut_pays(shape(FEW), memory_bandwidth(machine), behind)
            together.setdefault(machine, []).append(f"{form / 1024:.0f}K")
            factors += [form / batch / turn] if turn else []
    assert len(factors) == 6
    assert min(factors) > 1
    assert f"an upper bound**, by up to {max(factors):.1f} times" in page()
    first, *_, last = together[H100]
    least, *_, most = together[MI300X]
    assert f"{first} to {last} on H100, {least} to {most} on MI300X" in page()


@pytest.mark.parametrize(
    ("gaps", "where"), [((1, 1), 0.0), ((-1, -1), None), ((-1, 3), 2.0), ((-1, 0.5), 3.0)]
)
def test_two_layouts_meet_on_straight_lines(gaps: tuple[float, ...], where: float | None) -> None:
    """By how much the first is faster at two lengths; it is for good from a place on."""
    (one, *_) = decoding(results())
    first = [one._replace(tokens=n, seconds=9.0) for n in (1, 4)]
    second = [p._replace(seconds=9.0 + gap) for p, gap in zip(first, gaps, strict=True)]
    found = met(first, second)
    assert found == (where if where is None else pytest.approx(where, abs=0.3))


# ---- the page ------------------------------------------------------------------------------------


def test_the_answer_on_tokens_is_that_of_the_results() -> None:
    """How far TSP is behind with eight heads; sequences and crossings with two."""
    behind = [
        100 * (p.seconds / token(p.machine, p.model, "TP", p.tokens, p.batch).seconds - 1)
        for p in at(decoding(results()), layout="TSP, stays")
        if p.model in (SMALL, LARGE) and p.fits and not beyond(p)
    ]
    assert f"TSP whose weights stay takes {min(behind):.0f} to {max(behind):.0f} % longer" in page()
    places = {(m, b): turns(results(), m, b)[0] for m in MACHINES.values() for b in (1, 16)}
    told = {place: f"{(turn or math.nan) / 1024:.0f}K" for place, turn in places.items()}
    assert (
        f"TSP holds {more_room(FEW):.1f} times as many sequences, and is faster than TP from "
        f"{told[H100, 1]} cached tokens of one sequence and {told[H100, 16]} of each of 16 on "
        f"H100, from {told[MI300X, 1]} and {told[MI300X, 16]} on MI300X."
    ) in page()
    assert f"DeepSeek-V2-Lite's latents {more_room(LATENT):.1f} times as many" in page()


def more_room(model: str) -> float:
    """Return how many times as many sequences of 8K fit under TSP as under TP, the least."""
    ratios = []
    for machine in MACHINES.values():
        some = at(decoding(results()), machine=machine, model=model, tokens=8192)
        tsp, tp = (most_sequences(at(some, layout=name)) for name in ("TSP, stays", "TP"))
        ratios.append(tsp / tp)
    return min(ratios)


def test_nobody_but_tp_is_clearly_first_with_eight_heads() -> None:
    """Where kernels were measured, or are assumed."""
    places = {(p.machine, p.model, p.tokens, p.batch) for p in decoding(results())
              if p.model in (SMALL, LARGE) and not beyond(p)}  # fmt: skip
    others = []
    for machine, model, tokens, batch in places:
        here = at(decoding(results()), machine=machine, model=model, tokens=tokens, batch=batch)
        best = fastest(here)
        if best and best.kind != "TP":
            others.append((machine, model, best.kind, batch, lead(here) < 0.05))
    assert others == [(MI300X, SMALL, "SP", 256, True)]


def test_the_answer_on_prompts_is_that_of_the_results() -> None:
    """Whole ones, and those in steps, of the 70B."""
    whole = 131072
    sp, tsp = (prompt(MI300X, LARGE, n, whole, whole) for n in ("SP", "TSP, travels"))
    here = at(prompts(results()), machine=H100, model=LARGE, tokens=whole, chunk=whole)
    first = fastest(here)
    assert first and first.layout == "TSP, travels"
    assert (
        f"under SP on MI300X in {sp.seconds:.1f} s, TSP {100 * (tsp.seconds / sp.seconds - 1):.0f} "
        f"% behind. On H100 SP has no room for its weights, and TSP is first in "
        f"{first.seconds:.1f} s, {100 * lead(here):.0f} % ahead of the next."
    ) in page()
    here = at(prompts(results()), machine=H100, model=LARGE, tokens=2**20, chunk=2**20)
    assert {p.kind for p in here if p.fits} == {"TSP"}
    peak = prompt(H100, LARGE, "TSP, travels", 2**20, 2**20).peak / 2**30
    assert f"TSP alone has room for the 70B on H100, in {peak:.0f} GiB" in page()


def test_what_is_said_of_steps_of_prompts_is_in_the_results() -> None:
    """How much longer TSP takes where its weights travel with every step."""
    first = fastest(at(prompts(results()), machine=H100, model=LARGE, tokens=131072, chunk=32768))
    assert first and first.layout == "TSP, travels"
    short = at(prompts(results()), machine=H100, model=LARGE, tokens=131072, chunk=8192)
    best = fastest(short)
    assert best and best.kind == "TP x SP"
    ratios = [prompt(H100, LARGE, "TSP, travels", 131072, 8192).seconds / best.seconds]
    ratios += [
        prompt(MI300X, LARGE, "TSP, travels", 131072, chunk).seconds
        / prompt(MI300X, LARGE, "TP", 131072, chunk).seconds
        for chunk in (32768, 8192)
    ]
    assert f"by 8K it takes {100 * (ratios[0] - 1):.0f} % longer than TP x SP" in page()
    assert (
        f"it takes {100 * (ratios[1] - 1):.0f} % longer than TP by 32K, and {ratios[2]:.1f} times "
        "as long by 8K"
    ) in page()
    travels, stays = (
        prompt(MI300X, LARGE, f"TSP, {name}", 131072, 8192).seconds for name in ("travels", "stays")
    )
    assert f"in steps of 8K on MI300X it is {travels / stays:.1f} times as fast" in page().replace(
        "In steps", "in steps"
    )


def test_the_first_two_of_a_prompt_of_1m_are_a_draw_but_where_one_alone_fits() -> None:
    """As the answer says; and TSP with weights that stay is the last of what is whole."""
    for machine, model in ((MI300X, SMALL), (MI300X, LARGE), (H100, SMALL)):
        here = at(prompts(results()), machine=machine, model=model, tokens=2**20, chunk=2**20)
        assert lead(here) < 0.05
    for machine in MACHINES.values():
        for model in (SMALL, LARGE):
            here = at(prompts(results()), machine=machine, model=model, chunk=131072)
            assert max(here, key=lambda p: p.seconds).layout == "TSP, stays"
            assert len(here) == len(PREFILL)


def test_what_is_said_of_travelling_weights_is_in_the_results() -> None:
    """Seconds per token of the 70B, one sequence with 8K cached."""
    h100, mi300x = (
        token(machine, LARGE, "TSP, travels", 8192, 1).seconds for machine in (H100, MI300X)
    )
    assert f"that would take {h100:.2f} s on H100 and {mi300x:.2f} s on MI300X" in page()


def test_what_is_said_of_single_times_and_peaks_is_in_the_results() -> None:
    """What is exposed of a token, SP's weights, and peaks of 1M."""
    tp, tsp = (token(H100, LARGE, name, 8192, 64) for name in ("TP", "TSP, stays"))
    assert (
        f"TP {tp.seconds * 1e3:.1f} ms, of which {100 * tp.exposed:.0f} % are exposed "
        f"communication; TSP {tsp.seconds * 1e3:.1f} ms, {100 * tsp.exposed:.0f} %"
    ) in page()
    sp, tp = (token(MI300X, LARGE, name, 8192, 1) for name in ("SP", "TP"))
    assert f"takes {sp.seconds / tp.seconds:.1f} times as long as under TP on MI300X" in page()
    peaks = [
        f"{prompt(MI300X, LARGE, name, 2**20, chunk).peak / 2**30:.0f}"
        for name, chunk in (("TSP, travels", 2**20), ("TP", 2**20), ("TP", 2**15))
    ]
    assert (
        f"needs least, {peaks[0]} GiB on MI300X for 1M where TP needs {peaks[1]}: tokens between "
        f"blocks are cut. TP keeps all tokens of a step on every rank; in steps of 32K it needs "
        f"{peaks[2]}, as TSP does."
    ) in page()


def test_where_passing_queries_pays_is_in_the_results() -> None:
    """The part of a prompt that is new at which both take as long."""
    some = prompts(results(), cached=True)

    def turn(machine: str, model: str, other: str) -> float:
        here = at(some, machine=machine, model=model)
        new = sorted({p.tokens - p.cached for p in here})
        gains = {float(n): 1 + longer(here, n, other) for n in new}
        return 100 * (regenerate.crossing(gains, dict.fromkeys(gains, 1.0)) or math.nan) / 131072

    small, large = ([turn(m, model, "SP") for m in (MI300X, H100)] for model in (SMALL, LARGE))
    rings = [turn(H100, model, "SP, ring") for model in (SMALL, LARGE)]
    assert (
        f"against an all-gather, from {small[0]:.0f} % and {large[0]:.0f} % down on MI300X, "
        f"{small[1]:.0f} % and {large[1]:.0f} % on H100; against a ring, which hides, from "
        f"{rings[0]:.0f} % and {rings[1]:.0f} % down on H100."
    ) in page()


def test_what_is_said_of_the_smallest_kernels_on_mi300x_is_what_half_their_time_gives() -> None:
    """A token of one sequence of the 70B, with 8K cached."""
    study = studies.load(STUDY).opened
    for layout, keys in (("TP", "kind: tp"), ("TSP, stays", "kind: tsp, weights: stay")):
        asked = study.scenario(
            ("topology.file=mi300x-node.yaml", f"strategy={{{keys}, degree: 8}}",
             "kernels={preset: serving, replayed: 1.3 us}")
        )  # fmt: skip
        less = simulate_scenario(asked).timeline.step_time
        whole = token(MI300X, LARGE, layout, 8192, 1).seconds
        assert f"{less * 1e3:.1f} {'ms ' * (layout == 'TP')}in place of {whole * 1e3:.1f}" in page()


def test_what_is_said_of_kernels_beyond_their_rows_is_what_these_give() -> None:
    """One head of 1M tokens and eight of 128K on H100: as many bytes, at other rates."""
    node = load_file("h100-node", parse_profile("h100-published"))
    rates = Roofline(node.devices[0], node.profile, "bf16")

    def reads(keys: int, heads: int) -> tuple[float, float]:
        shape = (1, 8 * heads, heads, 1, keys, 128, 1, 128)
        work = Work(512 * 8 * heads * keys, 512 * (heads * keys + 8 * heads), "cached_attention",
                    shape)  # fmt: skip
        seconds = rates.seconds(work)
        return seconds, work.bytes / seconds / 1e12

    (late, slow), (soon, quick) = reads(2**20, 1), reads(2**17, 8)
    assert f"reads {slow:.1f} TB/s there, eight heads as many bytes {quick:.1f}" in page()
    tp, tsp = (token(H100, LARGE, name, 2**20, 1).seconds for name in ("TP", "TSP, stays"))
    assert f"TP takes {100 * (tp / tsp - 1):.0f} % longer than TSP for the 70B" in page()
    whole, steps = (prompt(H100, LARGE, "TSP, travels", 2**20, n).seconds for n in (2**20, 2**15))
    assert f"faster than a whole one under TSP ({100 * (1 - steps / whole):.0f} %)" in page()
    even = tp - 80 * (late - soon)
    assert (
        f"it would take {even * 1e3:.1f} ms to TSP's {tsp * 1e3:.1f}, and be first by "
        f"{100 * (tsp / even - 1):.0f} %"
    ) in page()
