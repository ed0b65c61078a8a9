"""The proof of experts can fail: what is not sent, summed or put in order is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.experts import BARE, EMPTY, SIGMOID, SKEWED, mixture
from tests.test_mutations import UNREAD
from tspsim.program.types import Programs
from tspsim.routing import Routing
from tspsim.testing import Case, Skipped, forgettable, without
from tspsim.testing.mutate import Forgotten
from tspsim.values import compare

#: A whole forward that is run again makes an output that nobody reads: the last sum of it, the
#: scatter of it. What `combine` brings back is read: the weights' gradients are made of it.
AGAIN = {(kind, "experts.out", "recompute") for kind in ("all_reduce", "reduce_scatter")}

ONE_LAYER = replace(SIGMOID, layers=1, vocab=24, experts=replace(SIGMOID.experts, every=1))
WORKLOAD = replace(EMPTY, batch=1, micro_batches=1)
#: Some of what every rank sends is dropped, and every rank has rows for both of its experts.
DROPPING = replace(
    SKEWED,
    batch=1,
    micro_batches=1,
    routing=Routing("table", table=((0, (1, 4, 1, 2, 0, 2, 1, 1)),), capacity=1.2),
)

#: What each says beside what the dense layers of its strategy do.
SAID = {
    ("tsp", "tokens"): {"dispatch", "combine"},
    ("tsp", "ring"): {"experts", "dexperts"},
    ("tsp", "columns"): {"experts", "dexperts"},
    ("tsp", "tensor"): {"experts.in", "experts.out", "experts.dout", "experts.din"},
    ("tp", "tokens"): {"experts.out", "dweights", "experts.din"},
    ("tp", "tensor"): {"experts.out", "experts.din"},
    ("tp-sequence", "tokens"): {"dispatch", "combine"},
    ("tp_sp", "tokens"): {"dispatch", "combine", "experts.out", "dweights", "experts.din"},
    ("tp_sp", "tensor"): {
        "experts.in", "experts.out", "experts.dout", "experts.din",
    },
    ("sp", "ring"): {"experts", "dexperts"},
}  # fmt: skip


def unnoticed(made: Case, victims: list[Forgotten]) -> set[tuple[str, str, str]]:
    """Return what can be left out without a value becoming wrong."""
    return {victim[1:] for victim in victims if not wrong(made, without(made.programs, victim))}


def wrong(made: Case, programs: Programs) -> bool:
    """Say whether the proof finds that these are not the case's programs."""
    return not compare(programs, made.mesh, made.model, made.workload).passed


@pytest.mark.parametrize(("strategy", "layout"), SAID)
def test_forgetting_any_one_call_of_the_experts_is_found(strategy: str, layout: str) -> None:
    """A dispatch, a combine, a hop of weights or of gradients, a gather, a sum: values differ."""
    made = mixture(strategy, layout, ONE_LAYER, WORKLOAD)
    labels = SAID[strategy, layout]
    victims = [v for v in forgettable(made.programs) if v.label in labels]
    assert {victim.label for victim in victims} == labels
    assert unnoticed(made, victims) <= AGAIN | UNREAD


def test_the_sum_over_ranks_that_hold_the_same_experts_is_found() -> None:
    """Experts over one axis of two: the other axis, and replicas, sum their gradients."""
    whole = mixture("tp_sp", "tokens", BARE, WORKLOAD, {"over": ["tp"]}, dp=2)
    victims = [v for v in forgettable(whole.programs) if v.label.startswith("gradients")]
    assert {"gradients.experts", "gradients"} <= {victim.label for victim in victims}
    assert not unnoticed(whole, victims)


@pytest.mark.parametrize("kind", ["permute", "arrange", "permute_backward", "combine_backward"])
def test_rows_that_are_not_put_in_order_are_found(kind: str) -> None:
    """Every op that moves rows, one at a time, made to pass on what is there."""
    made = mixture("tsp", "tokens", ONE_LAYER, DROPPING)
    (program,) = made.programs.roles
    moves = [op for op in program.ops if op.kind.name == kind]
    assert moves
    for move in moves:
        ops = [o._replace(kind=Skipped(o)) if o.index == move.index else o for o in program.ops]
        changed = replace(made.programs, roles=(replace(program, ops=tuple(ops)),))
        assert wrong(made, changed), move.name
