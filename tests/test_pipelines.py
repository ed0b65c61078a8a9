"""Pipelines prove themselves as other schedules do: the numbers are those of the dense model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.pipelines import SCHEDULED, SMALL, piped
from tspsim.kernels import PRESETS
from tspsim.registry import SCHEDULES, STRATEGIES
from tspsim.testing import MODEL, Case
from tspsim.testing.checks import check_calls, check_values

#: A table at both ends, LayerNorm, a plain MLP, and every bias that there is.
TIED = replace(
    MODEL,
    norm="layernorm",
    mlp="plain",
    tied=True,
    qkv_bias=True,
    attention_bias=True,
    mlp_bias=True,
)
#: Nothing but the layers.
BARE = replace(MODEL, vocab=0)
RECOMPUTE = ("none", "selective", "full")


def prove(made: Case) -> None:
    """Require that all calls meet, and all values are the dense model's to 1e-10."""
    check_calls(made)
    check_values(made)


def test_nothing_is_left_out() -> None:
    """A new schedule or strategy cannot be added without being proven in a pipeline."""
    assert {*SCHEDULES.names(), "rows"} == set(SCHEDULED)
    assert {kind for kind, _ in SMALL.values()} == set(STRATEGIES.names()) - {
        "fsdp"
    }  # replicas alone


@pytest.mark.parametrize("schedule", SCHEDULED)
@pytest.mark.parametrize("strategy", SMALL)
def test_every_schedule_under_every_strategy_computes_the_dense_models_numbers(
    strategy: str, schedule: str
) -> None:
    """Loss, output, input gradient and the gradient of every weight, on two ranks."""
    turn = [*SMALL].index(strategy) + [*SCHEDULED].index(schedule)
    prove(piped(strategy, schedule, recompute=RECOMPUTE[turn % 3]))


@pytest.mark.parametrize("schedule", SCHEDULED)
def test_a_proof_has_a_layer_in_every_stage_and_no_more(schedule: str) -> None:
    """Also where two pipelines share the ranks, each of them with all the layers."""
    made = piped("tp", schedule)
    pipeline = made.strategy.pp
    assert pipeline is not None
    assert pipeline.least.layers == pipeline.order(made.workload.micro_batches).depth


@pytest.mark.parametrize("schedule", SCHEDULED)
def test_four_ranks_compute_the_dense_models_numbers(schedule: str) -> None:
    """With ranks that hold neither end, each schedule under a strategy of its own."""
    strategy = [*SMALL][[*SCHEDULED].index(schedule) % len(SMALL)]
    prove(piped(strategy, schedule, 4, recompute="none"))


@pytest.mark.parametrize("schedule", SCHEDULED)
def test_a_tied_table_and_biases_get_the_gradients_of_both_ends(schedule: str) -> None:
    """Whether the ends lie on one rank, on two, or on two for either pipeline."""
    turn = [*SCHEDULED].index(schedule) % 3
    strategy = ("tsp", "tp", "tp-sequence")[turn]
    prove(piped(strategy, schedule, model=TIED, recompute=RECOMPUTE[turn]))


@pytest.mark.parametrize("schedule", SCHEDULED)
@pytest.mark.parametrize(
    "options",
    [
        {"zero": 0},
        {"zero": 1, "overlap_gradients": True, "overlap_weights": True},
    ],
    ids=["zero-0", "zero-1"],
)
def test_replicas_of_a_pipeline_sum_their_gradients(schedule: str, options: dict[str, Any]) -> None:
    """Each stage over its own replicas, in buckets, also of a table that two stages share."""
    more = {"dp": 2, "bucket": "4096 B", **options}
    prove(piped("tp", schedule, model=TIED, options=more))


@pytest.mark.parametrize("schedule", ["interleaved", "zb_v", "dualpipe"])
@pytest.mark.parametrize(
    "pp",
    [
        {"streams": "rank"},
        {"streams": "direction"},
        {"streams": "rank", "overlap": False},
        {"streams": "pair", "overlap": False},
    ],
    ids=str,
)
def test_no_policy_of_sends_and_receives_changes_a_number(
    schedule: str, pp: dict[str, Any]
) -> None:
    """In one stream per rank, pair or direction, and with compute that waits for them."""
    prove(piped("sp-all_gather", schedule, model=BARE, pp=pp))


@pytest.mark.parametrize(
    ("schedule", "layers"),
    [
        ("1f1b", (1, 3)),
        ("1f1b", (0, 2)),
        ("zb_h1", (2, 0)),
        ("gpipe", (0, 1, 0, 0)),
        ("interleaved", (0, 2, 1, 0)),
        ("looped_bfs", (1, 0, 0, 2)),
        ("zb_v", (2, 1, 0, 0)),
        ("dualpipe_v", (0, 1, 0, 2)),
        ("dualpipe", (0, 3)),
        ("dualpipe", (2, 0)),
    ],
    ids=str,
)
def test_stages_may_be_uneven_and_empty(schedule: str, layers: tuple[int, ...]) -> None:
    """What a stage without layers receives it sends on, and compares, or takes to its end."""
    ranks = len(layers) // (SCHEDULED[schedule] if schedule != "dualpipe" else 1)
    made = piped("tsp", schedule, ranks, pp={"layers": list(layers)})
    prove(Case(made.strategy, replace(TIED, layers=sum(layers)), made.workload))
    bare = Case(made.strategy, replace(BARE, layers=sum(layers)), made.workload)
    prove(bare.replicated(dp=2, zero=1, overlap_weights=True))


@pytest.mark.parametrize("kernels", ["torch-eager", "megatron-2022"])
@pytest.mark.parametrize("schedule", ["zb_h1", "dualpipe"])
def test_kernels_change_no_number(schedule: str, kernels: str) -> None:
    """With what frameworks keep, convert, compute apart and issue from a host."""
    chosen = replace(PRESETS[kernels], host=1e-3)
    turn = len(schedule + kernels) % 3
    strategy = ("tsp", "tp", "sp-ulysses")[turn]
    prove(piped(strategy, schedule, recompute=RECOMPUTE[turn], kernels=chosen, logits_chunks=2))


@pytest.mark.parametrize(
    "options",
    [
        {"degree": 4, "slots": 3},
        {"head_buckets": 2},
        {"lookahead": 0},
        {"lookahead": 2, "slots": 3},
        {"share_recompute": False},
        {"keep_gathered_kv": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("schedule", ["1f1b", "zb_v"])
def test_the_options_of_tsp_change_no_number(schedule: str, options: dict[str, Any]) -> None:
    """Weights travel ahead, further ahead or not; recomputation shares them with backward."""
    prove(piped("tsp", schedule, options=options, recompute="full"))


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "zb_v"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_forward_pass_goes_through_all_stages(schedule: str, ranks: int) -> None:
    """The forward phase alone: nothing goes back."""
    prove(piped("tsp", schedule, ranks, phase="forward"))
