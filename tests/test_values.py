"""The proof of the schedules: played with values, they compute what the dense model computes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from tests.differences import check_gradients
from tests.schedules import VARIANTS, record, title
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Workload
from tspsim.registry import STRATEGIES
from tspsim.values import compare

#: Grouped heads, a gated MLP, an untied head: the Llama family, small.
GQA = ModelShape(hidden=32, layers=2, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=4)
#: As many key/value heads as heads, and nothing but the block stack.
MHA = replace(GQA, heads=8, vocab=0)
#: Everything else: LayerNorm, plain MLP, tied tables, biases.
OTHER = replace(GQA, norm="layernorm", mlp="plain", tied=True, qkv_bias=True)
#: Biases of all products: with a plain MLP as GPT has them, and with a gated one.
GPT = replace(OTHER, attention_bias=True, mlp_bias=True)
BIASED = replace(GQA, attention_bias=True, mlp_bias=True)
MODELS = {"gqa": GQA, "mha": MHA, "other": OTHER}

WORKLOAD = Workload(sequence=16, batch=2, micro_batches=2, dtype="fp64")


def prove(variant, model: ModelShape, workload: Workload) -> None:
    """Play a variant and require that every comparison passes."""
    programs, mesh = record(variant, model, workload)
    proof = compare(programs, mesh, model, workload)
    failed = [(c.tensor, c.error) for c in proof.comparisons if not c.passed]
    assert not failed
    assert len(proof.comparisons) > 0


def test_variants_cover_every_registered_strategy() -> None:
    """A new strategy cannot be added without being proven."""
    assert {kind for kind, _ in VARIANTS} == set(STRATEGIES.names())


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous", "off"])
@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_a_training_step_computes_the_dense_models_numbers(variant, causal, recompute) -> None:
    """Loss, output, input gradient and every weight gradient agree to 1e-10."""
    for model in MODELS.values():
        prove(variant, model, replace(WORKLOAD, causal=causal, recompute=recompute))


@pytest.mark.parametrize("kernels", ["ideal", "torch-eager", "megatron-2022"])
@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_every_bias_gets_its_gradient(variant, kernels) -> None:
    """Of all projections of attention and all matrices of the MLP, under every strategy."""
    if kernels == "megatron-2022" and variant[1].get("kv") in ("ring", "usp"):
        pytest.skip("scores say nothing of how partial outputs are weighted: refused")
    for model, recompute in product((GPT, BIASED), ("none", "selective", "full")):
        prove(variant, model, replace(WORKLOAD, recompute=recompute, kernels=PRESETS[kernels]))


@pytest.mark.parametrize("model", [GPT, BIASED])
def test_a_bias_that_is_left_out_fails_the_proof(model) -> None:
    """A program of the same model without the MLP's biases does not compute its numbers."""
    programs, mesh = record(VARIANTS[0], replace(model, mlp_bias=False), WORKLOAD)
    proof = compare(programs, mesh, model, WORKLOAD)
    failed = {c.tensor for c in proof.comparisons if not c.passed}
    assert {"L0.b_up gradient", "L0.b_down gradient", "loss"} <= failed


@pytest.mark.parametrize("window", [2, 5])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous"])
@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_a_window_cuts_the_past_of_every_query(variant, causal, window) -> None:
    """Within a rank's tokens and across ranks, under every strategy."""
    workload = replace(WORKLOAD, causal=causal, recompute="selective", micro_batches=1)
    prove(variant, replace(GQA, window=window), workload)


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_a_forward_pass_computes_the_dense_models_output_and_loss(variant) -> None:
    """The forward phase alone agrees too."""
    for model in MODELS.values():
        prove(variant, model, replace(WORKLOAD, phase="forward"))


@pytest.mark.parametrize("kind", ["tsp", "tp", "sp"])
@pytest.mark.parametrize("degree", [1, 2, 8])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous"])
def test_every_degree_computes_the_dense_models_numbers(kind, degree, causal) -> None:
    """Degrees 1, 2 and 8 beside the 4 of the other tests."""
    workload = replace(WORKLOAD, sequence=32, causal=causal, recompute="full")
    prove((kind, {"degree": degree}), MHA, workload)
    prove((kind, {"degree": degree}), replace(MHA, vocab=16), workload)


@pytest.mark.parametrize("mesh", [(1, 4), (2, 4), (4, 2), (8, 1)])
def test_every_mesh_of_two_axes_computes_the_dense_models_numbers(mesh) -> None:
    """T x S for several factorisations of 4 and 8."""
    tp, sp = mesh
    prove(("tp_sp", {"tp": tp, "sp": sp}), MHA, replace(WORKLOAD, sequence=32))


@pytest.mark.parametrize("kind", ["tsp", "tp"])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_replicated_kv_heads_get_the_gradient_of_all_their_readers(kind, kv_heads) -> None:
    """With fewer K/V heads than ranks, neighbours hold the same head and sum its gradient."""
    model = replace(OTHER, kv_heads=kv_heads)
    prove((kind, {"degree": 4, "replicate_kv_heads": True}), model, WORKLOAD)


@pytest.mark.parametrize("degree", [4, 8])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous", "off"])
def test_ulysses_repeats_kv_heads_for_the_ranks_that_read_them(degree, kv_heads, causal) -> None:
    """At more ranks than K/V heads each is sent to several, and dK and dV are summed over them."""
    for recompute in ("none", "selective", "full"):
        workload = replace(WORKLOAD, sequence=32, causal=causal, recompute=recompute)
        for model in (replace(GQA, kv_heads=kv_heads), replace(OTHER, kv_heads=kv_heads)):
            prove(("sp", {"degree": degree, "kv": "ulysses"}), model, workload)


@pytest.mark.parametrize("blocks", [(1, 4), (2, 2), (4, 1), (4, 2), (2, 4)])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous", "off"])
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_ulysses_inside_a_ring_computes_the_dense_models_numbers(blocks, causal, recompute) -> None:
    """R blocks of U neighbours, with as many K/V heads as heads, half of them, and fewer than U."""
    ring, ulysses = blocks
    variant = ("sp", {"degree": ring * ulysses, "kv": "usp", "ulysses_degree": ulysses})
    workload = replace(WORKLOAD, sequence=32, causal=causal, recompute=recompute)
    for model in (MHA, GQA, replace(OTHER, kv_heads=2)):
        prove(variant, model, workload)


def test_ulysses_inside_a_ring_beside_tensor_parallelism() -> None:
    """Both exchanges on the heads of one rank of tp, with its sequence parallel."""
    options = {"tp": 2, "sp": 4, "kv": "usp", "ulysses_degree": 2, "sequence_parallel": True}
    for model in MODELS.values():
        prove(("tp_sp", options), model, replace(WORKLOAD, sequence=32))


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_logits_in_chunks_change_no_number(variant) -> None:
    """The head runs over pieces of the tokens; loss and gradients stay the same."""
    prove(variant, GQA, replace(WORKLOAD, logits_chunks=4))


def test_the_dense_model_agrees_with_finite_differences() -> None:
    """The yardstick itself: its gradients are those of its loss."""
    for model in (GQA, OTHER, MHA):
        check_gradients(model, Workload(sequence=4, dtype="fp64"))
