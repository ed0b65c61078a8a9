"""Variants of attention and norms: every strategy computes what the dense model computes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.differences import check_gradients
from tests.pipelines import piped
from tests.schedules import VARIANTS, record, title
from tests.test_pipeline_stamps import equal, passes
from tests.variants import GEMMA, MIXED, OLMO, PLAIN
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import Program
from tspsim.scenario import load
from tspsim.strategies.parts.turn_norms import TurnNorms
from tspsim.testing import forgettable, without
from tspsim.testing.checks import check_values
from tspsim.values import check, compare
from tspsim.values.small import small_model

WORKLOAD = Workload(sequence=16, batch=2, dtype="fp64")
MODELS = {"gemma": GEMMA, "olmo": OLMO, "mixed": MIXED}

Variant = tuple[str, dict[str, Any]]


def failed(variant: Variant, model: ModelShape, workload: Workload) -> set[str]:
    """Return the tensors that a variant gets wrong."""
    programs, mesh = record(variant, model, workload)
    proof = compare(programs, mesh, model, workload)
    assert proof.comparisons
    return {c.tensor for c in proof.comparisons if not c.passed}


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_a_training_step_computes_the_dense_models_numbers(
    variant: Variant, model: str, recompute: Any
) -> None:
    """Loss, output, input gradient and every gradient, those of the norms too."""
    assert not failed(variant, MODELS[model], replace(WORKLOAD, recompute=recompute))


@pytest.mark.parametrize("kernels", ["torch-eager", "megatron-2022"])
@pytest.mark.parametrize("variant", [VARIANTS[n] for n in (1, 4, 7, 9, 16)], ids=title)
def test_kernels_of_frameworks_compute_the_same(variant: Variant, kernels: Any) -> None:
    """Norms and gates in single ops, soft caps of scores in memory, dropout behind norms."""
    for model, recompute in product((GEMMA, MIXED), ("none", "full")):
        workload = replace(WORKLOAD, recompute=recompute, kernels=PRESETS[kernels])
        assert not failed(variant, model, workload)


@pytest.mark.parametrize("loss", ["fused", "in-place", "fp32", "chunked"])
def test_every_loss_caps_its_logits(loss: Any) -> None:
    """Inside of its kernel, or by a kernel of its own."""
    workload = replace(WORKLOAD, kernels=replace(PRESETS["ideal"], loss=loss))
    for variant in (VARIANTS[0], VARIANTS[7]):
        assert not failed(variant, GEMMA, workload)


@pytest.mark.parametrize("kind", ["tsp", "tp"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_norms_of_shared_keys_get_the_gradient_of_all_their_readers(
    kind: str, kv_heads: int
) -> None:
    """With fewer key heads than ranks, of every head and of whole projections."""
    variant = kind, {"degree": 4, "replicate_kv_heads": True}
    for model in (replace(GEMMA, kv_heads=kv_heads), replace(OLMO, kv_heads=kv_heads)):
        assert not failed(variant, model, WORKLOAD)


@pytest.mark.parametrize(
    ("schedule", "model", "recompute"),
    [("zb_v", GEMMA, "full"), ("1f1b", OLMO, "none"), ("zb_h1", OLMO, "full")],
)
@pytest.mark.parametrize("strategy", ["tsp", "tp-sequence", "sp-ulysses", "tp_sp"])
def test_pipelines_of_layers_that_differ_are_stamped_as_recorded(
    strategy: str, schedule: str, model: ModelShape, recompute: Any
) -> None:
    """With backward whole and in two halves."""
    four = replace(model, layers=4)
    made = piped(strategy, schedule, model=four, recompute=recompute)
    equal(made)
    check_values(made)


@pytest.mark.parametrize("strategy", ["tsp", "tp"])
def test_norms_that_are_shared_among_replicas_get_their_gradients(strategy: str) -> None:
    """With weights that come and go (ZeRO-3), layer by layer."""
    for model in (GEMMA, MIXED, OLMO):
        options = {"dp": 2, "zero": 3}
        check_values(piped(strategy, "1f1b", model=replace(model, layers=4), options=options))


def test_passes_are_recorded_once_for_every_kind_of_layer() -> None:
    """Forward and backward of both kinds, in each of two stages."""
    for layers in (4, 16):
        made = piped("tsp", "1f1b", model=replace(GEMMA, layers=layers))
        assert passes(made) == 2 * 2 * 2


CHANGES: dict[str, dict[str, Any]] = {
    "every layer local": {"window": 5},
    "every layer global": {"window": None},
    "layers the other way round": {"window": (None, 5)},
    "silu": {"gate": "silu"},
    "embeddings as they are": {"scaled_embedding": False},
    "scores without cap": {"score_cap": None},
    "logits without cap": {"logit_cap": None},
    "positions on half a head": {"rotary": 2},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_variant_that_is_left_out_fails_the_proof(change: str) -> None:
    """A program of the model without it does not compute its numbers."""
    programs, mesh = record(("tp", {"degree": 2}), replace(GEMMA, **CHANGES[change]), WORKLOAD)
    assert not compare(programs, mesh, GEMMA, WORKLOAD).passed


@pytest.mark.parametrize(
    ("variant", "model"),
    [
        (("tsp", {"degree": 4, "head_buckets": 2}), GEMMA),
        (("tp", {"degree": 4, "sequence_parallel": True}), GEMMA),
        (("tp_sp", {"tp": 2, "sp": 2, "sequence_parallel": True, "kv": "ring"}), GEMMA),
        (("tp", {"degree": 4}), OLMO),
        (("tp", {"degree": 4, "sequence_parallel": True}), OLMO),
        (("tp_sp", {"tp": 2, "sp": 2}), OLMO),
        (("tsp", {"degree": 2, "head_buckets": 2}), replace(OLMO, qkv_bias=True)),
        (("tsp", {"degree": 2, "share_recompute": False}), OLMO),
    ],
)
def test_forgetting_any_one_collective_is_found(variant: Variant, model: ModelShape) -> None:
    """Sums of squares, gradients of norms, and the last sum of a forward that runs again."""
    workload = replace(WORKLOAD, recompute="full", batch=1)
    programs, mesh = record(variant, model, workload)
    for victim in forgettable(programs):
        changed = without(programs, victim)
        assert not compare(changed, mesh, model, workload).passed, victim


@pytest.mark.parametrize("model", [GEMMA, OLMO, MIXED, replace(PLAIN, qk_norm="head", gate="gelu")])
def test_the_dense_model_agrees_with_finite_differences(model: ModelShape) -> None:
    """The yardstick itself: its gradients are those of its loss."""
    check_gradients(model, Workload(sequence=6, dtype="fp64"), 1e-9)


def test_whole_queries_cost_one_number_per_token_and_projection() -> None:
    """In forward, and once more in backward: 4 bytes each, under TP."""
    programs, _ = record(("tp", {"degree": 4}), OLMO, WORKLOAD)
    (program,) = programs.roles
    sums = [op for op in program.ops if op.message and op.label.endswith(("norm.q", "norm.k"))]
    assert len(sums) == OLMO.layers * 2 * 2
    assert {op.inputs[0].bytes for op in sums} == {WORKLOAD.batch * WORKLOAD.sequence * 4}


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_whole_queries_have_no_weight_travel_more_often_under_tsp(recompute: Any) -> None:
    """Only what runs forward again has Wq and Wk come once more; dW is reduced once."""
    variant, workload = ("tsp", {"degree": 4}), replace(WORKLOAD, recompute=recompute)
    (whole,), (heads,) = (
        record(variant, replace(PLAIN, norm_at="behind", qk_norm=norm), workload)[0].roles
        for norm in ("whole", "head")
    )
    half = PLAIN.hidden * (PLAIN.query_width + PLAIN.kv_width) * Optimizer().weight
    once_more = PLAIN.layers * half if recompute == "full" else 0
    assert sent(whole, "broadcast") == sent(heads, "broadcast") + once_more
    assert sent(whole, "reduce") == sent(heads, "reduce")


def sent(program: Program, kind: str) -> int:
    """Return the bytes of all messages of a kind."""
    messages = (op.message for op in program.ops)
    return sum(message.bytes for message in messages if message and message.collective == kind)


@pytest.mark.parametrize("forgotten", ["squares", "products"])
def test_a_norm_by_shard_is_found(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over the heads of one turn, not of all."""
    right = getattr(TurnNorms, forgotten)

    def alone(norms: TurnNorms, *values: Any) -> Any:
        return right(norms, *values[:-1], None)

    monkeypatch.setattr(TurnNorms, forgotten, alone)
    assert "L0.wk gradient" in failed(("tsp", {"degree": 4}), OLMO, WORKLOAD)


def test_a_rank_alone_has_its_heads_in_turns_too() -> None:
    """Norms over the heads of all buckets, without a rank to talk to."""
    for buckets in (1, 2):
        assert not failed(("tsp", {"degree": 1, "head_buckets": buckets}), OLMO, WORKLOAD)


def test_the_small_model_has_layers_of_every_kind() -> None:
    """What is proven has local and global layers as Gemma-3 has, in fewer layers."""
    model = replace(PLAIN, layers=62, head_dim=128, window=(1024,) * 5 + (None,), rotary=96)
    small = small_model(model, 4, layers=2, share=1 / 64)
    assert (small.layers, small.window, small.rotary) == (2, (16, None), 2)
    assert small_model(replace(model, window=1024), 4, layers=2, share=1 / 64).window == 16
    assert small_model(replace(model, window=1024), 4, layers=2, share=1e-6).window == 2


@pytest.mark.parametrize("shape", ["gemma-3-27b", "phi-4-mini", "olmo-2-7b", "olmoe-1b-7b"])
def test_shipped_shapes_are_proven_under_tsp(shape: str) -> None:
    """As `tspsim check` does."""
    keys = [f"model={{hf: {shape}}}", "workload.logits_chunks=1"]
    assert check(load("scenarios/llama3-8b-128k-h100-tsp.yaml", keys)).passed
