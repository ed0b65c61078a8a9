"""Volumes, flops and resident bytes of the recorded programs equal the closed forms exactly.

The formulas stand in docs/strategies.md; D degree, B batch, S sequence, h hidden, g = heads /
kv_heads, W weights of a layer, L layers. Volumes are elements received per rank and layer.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.schedules import options, program, received
from tspsim.flops import forward_flops, twice_attention_pairs
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import PerCoordinate, Program

MHA = ModelShape(hidden=4096, layers=2, heads=32, kv_heads=32, ffn=16384)
GQA = replace(MHA, kv_heads=8, ffn=14336)
PLAIN = replace(MHA, mlp="plain")
MODELS = {"mha": MHA, "gqa": GQA, "plain": PLAIN}
WORKLOAD = Workload(sequence=131072, batch=2)
#: Norm gradients, and the loss of the stand-in objective: not in the formulas.
SMALL = ("gradients.norms", "loss")

TSP, TP, SP = (("tsp", {"degree": 8}), ("tp", {"degree": 8}), ("sp", {"degree": 8}))
MESHES = [(4, 2), (2, 4)]


def tp_sp(t: int, s: int) -> tuple[str, dict[str, int]]:
    """Return the T x S variant."""
    return ("tp_sp", {"tp": t, "sp": s})


def sizes(model: ModelShape) -> tuple[float, float, float]:
    """Return BSh, BSh/g and W."""
    bsh = WORKLOAD.batch * WORKLOAD.sequence * model.hidden
    g = model.heads / model.kv_heads
    return bsh, bsh / g, model.attention_weights + model.mlp_weights


def per_layer(variant, model: ModelShape, workload: Workload, *phases: str) -> float:
    """Return the elements received per rank and layer in some phases."""
    recorded, mesh = program(variant, model, workload)
    leave_out = (*SMALL, "gradients") if "optimizer" not in phases else SMALL
    return received(recorded, mesh, phases, leave_out) / model.layers


def test_the_weights_of_a_layer_follow_the_formula() -> None:
    """W = (2 + 2/g + 3F) h^2 gated, 2F plain."""
    for name, model in MODELS.items():
        g, f = model.heads / model.kv_heads, model.ffn / model.hidden
        factor = 2 + 2 / g + (2 if name == "plain" else 3) * f
        assert sizes(model)[2] == factor * model.hidden**2


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
class TestForwardVolumes:
    """The table of the four schemes, forward."""

    def test_tp_receives_two_all_reduces(self, model) -> None:
        """4 (D-1)/D BSh."""
        bsh, _, _ = sizes(model)
        assert per_layer(TP, model, WORKLOAD, "forward") == 4 * 7 / 8 * bsh

    def test_tp_with_sequence_parallel_receives_as_much(self, model) -> None:
        """An all_gather and a reduce_scatter are an all_reduce in two halves."""
        bsh, _, _ = sizes(model)
        variant = ("tp", {"degree": 8, "sequence_parallel": True})
        assert per_layer(variant, model, WORKLOAD, "forward") == 4 * 7 / 8 * bsh

    @pytest.mark.parametrize("kv", ["all_gather", "ring"])
    def test_sp_receives_keys_and_values(self, model, kv) -> None:
        """2 (D-1)/D BSh/g, gathered or hop by hop."""
        _, kv_size, _ = sizes(model)
        variant = ("sp", {"degree": 8, "kv": kv})
        assert per_layer(variant, model, WORKLOAD, "forward") == 2 * 7 / 8 * kv_size

    def test_ulysses_exchanges_its_shard_of_q_k_v_and_o(self, model) -> None:
        """(D-1)/D of the local part of q, k, v and back of o."""
        bsh, kv_size, _ = sizes(model)
        variant = ("sp", {"degree": 8, "kv": "ulysses"})
        expected = 7 / 8 * (2 * bsh + 2 * kv_size) / 8
        assert per_layer(variant, model, WORKLOAD, "forward") == expected

    @pytest.mark.parametrize("blocks", [(2, 4), (4, 2)])
    def test_usp_exchanges_heads_in_a_block_and_k_v_between_blocks(self, model, blocks) -> None:
        """(U-1)/U of the local q, k, v and o, and (R-1) hops of a block's k and v of heads/U."""
        ring, ulysses = blocks
        bsh, kv_size, _ = sizes(model)
        variant = ("sp", {"degree": 8, "kv": "usp", "ulysses_degree": ulysses})
        exchanged = (ulysses - 1) / ulysses * (2 * bsh + 2 * kv_size) / 8
        hops = (ring - 1) * 2 * kv_size / ring / ulysses
        assert per_layer(variant, model, WORKLOAD, "forward") == exchanged + hops

    def test_repeated_key_value_heads_travel_once_for_each_rank_that_reads_them(
        self, model
    ) -> None:
        """As many K/V heads arrive as there are ranks, however few there were."""
        few = replace(model, kv_heads=2)
        bsh, kv_size, _ = sizes(few)
        variant = ("sp", {"degree": 8, "kv": "ulysses"})
        expected = 7 / 8 * (2 * bsh + 2 * 4 * kv_size) / 8
        assert per_layer(variant, few, WORKLOAD, "forward") == expected

    @pytest.mark.parametrize("mesh", MESHES)
    def test_tp_sp_receives_both_on_smaller_shards(self, model, mesh) -> None:
        """4 (T-1)/T BSh/S + 2 (S-1)/S BSh/(g T)."""
        t, s = mesh
        bsh, kv_size, _ = sizes(model)
        expected = 4 * (t - 1) / t * bsh / s + 2 * (s - 1) / s * kv_size / t
        assert per_layer(tp_sp(t, s), model, WORKLOAD, "forward") == expected

    def test_tsp_receives_the_weights_and_the_keys_and_values(self, model) -> None:
        """(D-1)/D (W + 2 BSh/g)."""
        _, kv_size, w = sizes(model)
        assert per_layer(TSP, model, WORKLOAD, "forward") == 7 / 8 * (w + 2 * kv_size)

    @pytest.mark.parametrize("buckets", [2, 4])
    def test_head_buckets_move_the_same_bytes_in_more_messages(self, model, buckets) -> None:
        """More all_gathers, each smaller."""
        if model.kv_heads // 8 % buckets:
            pytest.skip("this model has too few K/V heads per rank for the buckets")
        variant = ("tsp", {"degree": 8, "head_buckets": buckets})
        plain = per_layer(TSP, model, WORKLOAD, "forward")
        assert per_layer(variant, model, WORKLOAD, "forward") == plain


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
class TestBackwardVolumes:
    """The derived backward, without recomputation."""

    def test_tp_receives_two_all_reduces_again(self, model) -> None:
        """4 (D-1)/D BSh."""
        bsh, _, _ = sizes(model)
        assert per_layer(TP, model, WORKLOAD, "backward") == 4 * 7 / 8 * bsh

    @pytest.mark.parametrize("kv", ["all_gather", "ring"])
    def test_sp_gathers_again_and_scatters_gradients(self, model, kv) -> None:
        """2 + 2 BSh/g, times (D-1)/D; dK and dV travel one hop more than K and V."""
        _, kv_size, _ = sizes(model)
        variant = ("sp", {"degree": 8, "kv": kv})
        expected = 4 * 7 / 8 * kv_size
        assert per_layer(variant, model, WORKLOAD, "backward") == expected

    def test_kept_keys_and_values_are_not_gathered_again(self, model) -> None:
        """Half of SP's backward, and TSP's BS > 12h case."""
        _, kv_size, w = sizes(model)
        keep = {"degree": 8, "keep_gathered_kv": True}
        assert per_layer(("sp", keep), model, WORKLOAD, "backward") == 2 * 7 / 8 * kv_size
        expected = 7 / 8 * (2 * w + 2 * kv_size)
        assert per_layer(("tsp", keep), model, WORKLOAD, "backward") == expected

    def test_tsp_receives_weights_again_and_their_gradients(self, model) -> None:
        """(D-1)/D (W + W + 2 BSh/g + 2 BSh/g)."""
        _, kv_size, w = sizes(model)
        expected = 7 / 8 * (2 * w + 4 * kv_size)
        assert per_layer(TSP, model, WORKLOAD, "backward") == expected

    @pytest.mark.parametrize("mesh", MESHES)
    def test_tp_sp_receives_both(self, model, mesh) -> None:
        """4 (T-1)/T BSh/S + 4 (S-1)/S BSh/(g T)."""
        t, s = mesh
        bsh, kv_size, _ = sizes(model)
        expected = 4 * (t - 1) / t * bsh / s + 4 * (s - 1) / s * kv_size / t
        assert per_layer(tp_sp(t, s), model, WORKLOAD, "backward") == expected

    @pytest.mark.parametrize("micro_batches", [1, 3])
    def test_replicated_gradients_are_reduced_once_per_step(self, model, micro_batches) -> None:
        """SP: 2 (D-1)/D W (and norms), however many micro-batches; TP+SP: W/T."""
        workload = replace(WORKLOAD, micro_batches=micro_batches)
        norms = 2 * model.norm_parameters
        for variant, t, s in ((SP, 1, 8), (tp_sp(4, 2), 4, 2)):
            recorded, mesh = program(variant, model, workload)
            labels = {op.label for op in recorded.ops if op.message} - {"gradients"}
            got = received(recorded, mesh, ("backward",), tuple(labels)) / model.layers
            assert got == 2 * (s - 1) / s * (sizes(model)[2] / t + norms)


@pytest.mark.parametrize(
    ("variant", "weights", "activations"),
    [
        (TP, 0, 12),
        (("tsp", {"degree": 8, "share_recompute": False}), 64, 8),
        (TSP, 48, 6),
    ],
)
def test_full_recompute_adds_a_forward_or_shares_it(variant, weights, activations) -> None:
    """Forward and backward at F = 4: TP 12 BSh; TSP 64 h^2 + 8 BSh, shared 48 h^2 + 6 BSh."""
    workload = replace(WORKLOAD, recompute="full")
    phases = ("forward", "recompute", "backward")
    expected = 7 / 8 * (weights * MHA.hidden**2 + activations * sizes(MHA)[0])
    assert per_layer(variant, MHA, workload, *phases) == expected


def flops(recorded: Program, coordinate: int = 0) -> int:
    """Return the flops of a rank's program."""
    works = (op.work for op in recorded.ops if op.work)
    return sum(
        w.works[coordinate].flops if isinstance(w, PerCoordinate) else w.flops for w in works
    )


VARIANTS = [TSP, TP, SP, tp_sp(4, 2), ("sp", {"degree": 8, "kv": "ring"})]


@pytest.mark.parametrize("causal", ["zigzag", "off"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("vocab", [0, 128256])
def test_forward_flops_per_rank_are_the_models_over_the_degree(variant, causal, vocab) -> None:
    """Matmul and attention flops divide evenly over 8 ranks."""
    model = replace(GQA, vocab=vocab)
    workload = replace(WORKLOAD, causal=causal, phase="forward", micro_batches=2)
    recorded, _ = program(variant, model, workload)
    assert flops(recorded) * 8 == forward_flops(model, workload)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_training_flops_per_rank_equal_the_closed_form(variant) -> None:
    """Backward: twice the matmuls, and 2.5 times the attention core."""
    model = replace(GQA, vocab=128256)
    recorded, _ = program(variant, model, WORKLOAD)
    attention = 2 * twice_attention_pairs(WORKLOAD) * model.query_width
    attention *= model.layers * WORKLOAD.batch
    matmul = forward_flops(model, WORKLOAD) - attention
    assert flops(recorded) * 8 == 3 * matmul + 3.5 * attention


@pytest.mark.parametrize("variant", [TP, SP, tp_sp(4, 2)], ids=str)
def test_full_recompute_adds_a_forward_of_flops(variant) -> None:
    """The layers' forward runs twice."""
    plain, _ = program(variant, GQA, WORKLOAD)
    again, _ = program(variant, GQA, replace(WORKLOAD, recompute="full"))
    assert (flops(again) - flops(plain)) * 8 == forward_flops(GQA, WORKLOAD)


def test_recompute_inside_the_loops_leaves_out_the_output_projections() -> None:
    """TSP shared: backward needs neither Wo's nor down's product again."""
    plain, _ = program(TSP, GQA, WORKLOAD)
    again, _ = program(TSP, GQA, replace(WORKLOAD, recompute="full"))
    outputs = GQA.query_width * GQA.hidden + GQA.ffn * GQA.hidden
    left_out = 2 * WORKLOAD.tokens * outputs * GQA.layers
    assert (flops(again) - flops(plain)) * 8 == forward_flops(GQA, WORKLOAD) - left_out


def test_selective_recompute_adds_the_attention_core() -> None:
    """One more forward of the core, in every scheme."""
    core = 2 * twice_attention_pairs(WORKLOAD) * GQA.query_width
    core *= GQA.layers * WORKLOAD.batch
    for variant in VARIANTS:
        plain, _ = program(variant, GQA, WORKLOAD)
        again, _ = program(variant, GQA, replace(WORKLOAD, recompute="selective"))
        assert (flops(again) - flops(plain)) * 8 == core


def test_layers_that_differ_in_their_window_are_counted_each() -> None:
    """Five local layers and a global one in turn: of seven layers one is global."""
    local, whole = replace(GQA, layers=1, window=1024), replace(GQA, layers=1)
    model = replace(GQA, layers=7, window=(1024,) * 5 + (None,))
    workload = replace(WORKLOAD, phase="forward")
    head = 2 * workload.tokens * model.vocab * model.hidden
    each = [forward_flops(shape, workload) - head for shape in (local, whole)]
    assert forward_flops(model, workload) - head == 6 * each[0] + each[1]
    recorded, _ = program(TSP, model, workload)
    assert sum(flops(recorded, c) for c in range(8)) == forward_flops(model, workload)


@pytest.mark.parametrize("window", [1024, 16384, 131072, 200000])
@pytest.mark.parametrize("causal", ["zigzag", "contiguous"])
def test_a_window_leaves_its_keys_to_every_query(causal, window) -> None:
    """The pairs of all ranks together: S W - W^2 / 2, or half the square where W spans it."""
    model = replace(GQA, window=window)
    workload = replace(WORKLOAD, causal=causal, phase="forward")
    least = min(window, WORKLOAD.sequence)
    assert twice_attention_pairs(workload, window) == 2 * WORKLOAD.sequence * least - least**2
    for variant in (SP, ("sp", {"degree": 8, "kv": "ring"}), TSP):
        recorded, _ = program(variant, model, workload)
        assert sum(flops(recorded, c) for c in range(8)) == forward_flops(model, workload)


@pytest.mark.parametrize("variant", [SP, ("sp", {"degree": 8, "kv": "ring"}), TSP], ids=str)
def test_contiguous_shards_share_causal_work_unequally_and_completely(variant) -> None:
    """The last rank has the most pairs; all together have the model's."""
    workload = replace(WORKLOAD, causal="contiguous", phase="forward")
    recorded, _ = program(variant, GQA, workload)
    ranks = [flops(recorded, c) for c in range(8)]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[-1]
    assert sum(ranks) == forward_flops(GQA, workload)


@pytest.mark.parametrize(
    ("variant", "cut"), [(TSP, 8), (TP, 8), (SP, 1), (tp_sp(4, 2), 4), (tp_sp(2, 4), 2)], ids=str
)
def test_resident_bytes_follow_the_weights_shard(variant, cut) -> None:
    """Weights, gradients and optimizer states: kappa * P / D, P, or P / T; norms replicated."""
    recorded, _ = program(variant, GQA, WORKLOAD)
    kinds = ("weight", "gradient", "optimizer")
    resident = sum(b.bytes for b in recorded.buffers if b.resident and b.kind in kinds)
    optimizer = Optimizer()
    kappa = optimizer.weight + optimizer.gradient + sum(b for _, b in optimizer.states)
    norms = 2 * GQA.norm_parameters * GQA.layers
    assert resident == kappa * ((GQA.parameters - norms) / cut + norms)


def test_the_crossover_of_tsp_and_tp_is_where_the_paper_puts_it() -> None:
    """TSP receives less than TP exactly when BS > 8h (g = 1, F = 4): equal at BS = 8h."""
    at = [replace(WORKLOAD, batch=1, sequence=8 * MHA.hidden + d) for d in (-64, 0, 64)]
    tsp = [per_layer(TSP, MHA, w, "forward") for w in at]
    tp = [per_layer(TP, MHA, w, "forward") for w in at]
    assert tsp[0] > tp[0]
    assert tsp[1] == tp[1]
    assert tsp[2] < tp[2]


@pytest.mark.parametrize(
    ("options_", "path", "told"),
    [
        ({"kv": "usp"}, "ulysses_degree", "missing; kv: usp needs it"),
        ({"kv": "usp", "ulysses_degree": 3}, "ulysses_degree", "3 does not divide the 8 ranks"),
        ({"kv": "usp", "ulysses_degree": 8}, "ulysses_degree", "6 heads and 3 kv_heads over 8"),
        ({"kv": "ring", "ulysses_degree": 2}, "ulysses_degree", "kv: ring has no ulysses_degree"),
        ({"kv": "ulysses"}, "kv", "which does not divide; use kv: ring or all_gather"),
    ],
)
def test_heads_that_cannot_be_dealt_are_told_with_their_path(options_, path, told) -> None:
    """Of Ulysses, alone or inside a ring."""
    model = ModelShape(hidden=48, layers=1, heads=6, kv_heads=3, ffn=16)
    (problem,) = options("sp", degree=8, **options_).problems(model, Workload(sequence=32))
    assert problem.path == ("strategy", path)
    assert told in problem.message


def test_a_degree_that_does_not_divide_is_told_with_its_path() -> None:
    """Heads, kv_heads, ffn, vocab and sequence are each checked."""
    model = ModelShape(hidden=30, layers=1, heads=6, kv_heads=3, ffn=10, vocab=7)
    found = {p.message for p in options("tsp", degree=4).problems(model, Workload(sequence=12))}
    assert len(found) == 5
    assert any(
        "12 does not divide into 8 (zigzag cuts it into 2 x 4 chunks); 8 would" in m for m in found
    )


@pytest.mark.parametrize(("kind", "held"), [("tsp", 4), ("tp", 16), ("sp", 4)])
def test_chunks_of_the_head_must_divide_a_ranks_tokens(kind, held) -> None:
    """Otherwise some tokens would be left out of the loss."""
    model = ModelShape(hidden=32, layers=1, heads=8, kv_heads=4, ffn=8, vocab=8)
    workload = Workload(sequence=16, logits_chunks=3)
    (problem,) = options(kind, degree=4).problems(model, workload)
    assert problem.path == ("workload", "logits_chunks")
    assert problem.message == f"3 does not divide the {held} tokens that a rank holds"
