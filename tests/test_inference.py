"""Inference by values: prompts and tokens, step by step, are one dense forward."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference import MODEL, MODELS, STRATEGIES_OF, steps, strategy
from tspsim.model import ModelShape, Optimizer
from tspsim.program.bindings import Shard
from tspsim.program.by_rank import works_of
from tspsim.program.columns import columns_of
from tspsim.program.types import Programs
from tspsim.testing import forgettable, without
from tspsim.values import Proof
from tspsim.values.inference import prove, replay

#: Latent attention and experts travel in ways of their own; others are played with all strategies.
EVERYWHERE = ("gqa", "sinks", "latent", "experts")
SOME = ("tp", "sp", "tp_sp", "tsp")


def passed(proof: Proof) -> bool:
    """Whether there is something to compare, and all of it agrees."""
    assert proof.comparisons
    return proof.passed


@pytest.mark.parametrize("model", EVERYWHERE)
@pytest.mark.parametrize("name", STRATEGIES_OF)
def test_token_by_token_is_the_full_forward(name: str, model: str) -> None:
    """Uneven prompts, then tokens that come singly: outputs and logits are those of all at once."""
    if model == "latent" and name in ("sp-ring-keys", "tp_sp-ring"):
        pytest.skip("latents are not passed round a ring: refused")
    shape = MODELS[model]
    assert passed(prove(strategy(name), _stacked(name, shape), steps()))


def _stacked(name: str, shape: ModelShape) -> ModelShape:
    return replace(shape, layers=2) if "stages" in name else shape


@pytest.mark.parametrize("model", [m for m in MODELS if m not in EVERYWHERE])
@pytest.mark.parametrize("name", SOME)
def test_families_go_on_from_their_caches(name: str, model: str) -> None:
    """Biases, caps, norms of heads, repeated heads, no vocabulary: nothing is lost in a cache."""
    assert passed(prove(strategy(name), MODELS[model], steps((7, 2), 2)))


@pytest.mark.parametrize("causal", ["zigzag", "contiguous"])
@pytest.mark.parametrize("name", ["sp-keys", "sp-ring-queries", "tsp", "tp_sp-ring"])
def test_a_prompt_in_pieces_is_the_whole_prompt(name: str, causal: str) -> None:
    """Pieces of a prompt, each laid out by itself, meet those before them in the cache."""
    workloads = steps((13, 6), 2, chunk=4, causal=causal)
    assert passed(prove(strategy(name), MODEL, workloads))


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.integers(1, 19), min_size=1, max_size=4).map(tuple),
    new=st.integers(1, 6),
    chunk=st.sampled_from([None, 3, 8]),
    block=st.sampled_from([1, 2, 5]),
    name=st.sampled_from(["sp", "tp_sp", "tsp", "tsp-travel-queries"]),
)
def test_any_lengths_and_pages(
    prompts: tuple[int, ...], new: int, chunk: int | None, block: int, name: str
) -> None:
    """Prompts shorter than the ranks are many, pages of any size, pieces that end early."""
    assert passed(prove(strategy(name), MODEL, steps(prompts, new, chunk, block)))


@pytest.mark.parametrize("name", [n for n in STRATEGIES_OF if n not in ("one", "tsp-stages")])
def test_nothing_that_is_said_can_be_left_out(name: str) -> None:
    """Every gather, hop, sum and exchange, and writing into the cache, changes some value."""
    chosen, workloads = strategy(name), steps((5, 9), 3)
    recorded = [chosen.record(MODEL, step, Optimizer()) for step in workloads]
    for number in (0, -1):
        for victim in forgettable(recorded[number]):
            changed = list(recorded)
            changed[number] = without(recorded[number], victim)
            assert not replay(changed, chosen.mesh(), MODEL, workloads).passed, str(victim)


@pytest.mark.parametrize("model", ["gqa", "latent"])
def test_tsp_decodes_on_what_its_prefill_leaves(model: str) -> None:
    """No weight and no entry of the cache moves: each rank holds the same before and behind.

    That no entry moves is in every proof: a step finds what the rank itself has kept. Weights are
    bound to the same parts of the same tensors, and no message of decode has any of them in it.
    """
    chosen, shape = strategy("tsp"), MODELS[model]
    prefill, *_, decode = (chosen.record(shape, step, Optimizer()) for step in steps())
    assert _weights(prefill) == _weights(decode)
    said = [op for op in decode.roles[0].ops if op.message]
    assert not {o.buffer.kind for op in said for o in op.inputs} & {"weight", "kv_cache"}
    assert {op.kind.name for op in prefill.roles[0].ops if op.message} >= {"broadcast", "shift"}


@pytest.mark.parametrize("name", ["tp", "tsp", "tsp-stay"])
def test_an_expert_multiplies_a_row_once(name: str) -> None:
    """Where all ranks hold the same new tokens, each sends them to nobody but its own experts."""
    chosen, shape = strategy(name), MODELS["experts"]
    (decode,) = steps((4, 4, 4, 4), 2)[-1:]
    programs, mesh = chosen.record(shape, decode, Optimizer()), chosen.mesh()
    flops = 0
    for rank in range(mesh.ranks):
        program = programs.of(rank)
        works = works_of(program, mesh, rank)
        ops = zip(program.ops, columns_of(program).work.tolist(), strict=True)
        flops += sum(works[work].flops for op, work in ops if op.kind.name == "grouped_matmul")
    assert shape.experts is not None
    rows = 4 * shape.experts.active
    assert flops == 2 * rows * 3 * shape.hidden * shape.experts.width


def test_weights_of_experts_do_not_go_round_the_same_tokens() -> None:
    """Experts on a ring are refused where TSP's weights stay, as they are under TP."""
    form = type(strategy("tsp"))
    ring = form.model_validate({"kind": "tsp", "degree": 4, "experts": {"layout": "ring"}})
    *_, prefill, decode = steps(new_tokens=2)
    assert not list(ring.all_problems(MODELS["experts"], prefill))
    (problem,) = ring.all_problems(MODELS["experts"], decode)
    assert "ranks along tsp hold the same tokens" in problem.message


def _weights(programs: Programs) -> set[tuple[str, object]]:
    bindings = programs.roles[0].bindings
    return {(b.tensor, b.place) for b in bindings if b.role == "value" and type(b.place) is Shard}


def test_a_cache_on_another_rank_is_missed() -> None:
    """A decode that looks for tokens where the prefill has not put them fails."""
    first, *others = steps((8, 8), 3)
    moved = [replace(step, causal="contiguous") for step in others]
    chosen = strategy("sp")
    assert passed(prove(chosen, MODEL, [first, *others]))
    assert not prove(chosen, MODEL, [first, *moved]).passed
