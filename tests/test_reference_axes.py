"""Stages and sharded replicas around the reference, on real ranks (gloo), equal the dense model."""

from __future__ import annotations

import pytest

from tests.reference_axes import SHAPE, cases, main
from tests.test_reference import spawn
from tspsim.files.errors import UserError

torch = pytest.importorskip("torch", reason="torch is missing: install tspsim[calibrate]")

WORLDS = (2, 4)

Errors = list[dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Errors]:
    """Return every rank's differences from the dense model by world size."""
    return {world: spawn(world, tmp_path_factory.mktemp(f"axes{world}"), main) for world in WORLDS}


@pytest.mark.parametrize(("world", "case"), [(w, case) for w in WORLDS for case in cases(w)])
def test_equals_the_dense_model(measured: dict[int, Errors], world: int, case: str) -> None:
    """Loss and every weight's gradient agree to 1e-10 in float64, on every rank."""
    error, what = max((e, what) for rank in measured[world] for what, e in rank[case].items())
    assert error < 1e-10, what


@pytest.mark.parametrize(("world", "case"), [(w, case) for w in WORLDS for case in cases(w)])
def test_all_weights_are_compared(measured: dict[int, Errors], world: int, case: str) -> None:
    """Stages together hold every weight, a replica all of them alone: none is left out."""
    sizes = SHAPE | cases(world)[case]
    ends = {"final_norm", "embedding", "head"} if sizes["vocab"] else {"input"}
    wanted = 9 * sizes["layers"] + len(ends) + 1
    held = [set(rank[case]) for rank in measured[world]]
    assert len(set.union(*held)) == wanted
    if sizes["outer"] == "replicas":
        assert all(len(names) == wanted for names in held)
    else:
        assert all({"loss"} < names and len(names) < wanted for names in held)


@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("batches", [1, 2, 4, 8])
def test_a_stage_holds_no_more_micro_batches_than_stages_follow(stages: int, batches: int) -> None:
    """1F1B runs everything once, in order, with min(m, p - r) micro-batches alive on stage r."""
    from tspsim.calibrate.reference.pipeline import one_forward_one_backward

    for stage in range(stages):
        order = one_forward_one_backward(stages, stage, batches)
        for kind in ("F", "B"):
            assert [a.batch for a in order if a.kind == kind] == list(range(batches))
        alive = [sum(1 if a.kind == "F" else -1 for a in order[: i + 1]) for i in range(len(order))]
        assert min(alive) >= 0
        assert max(alive) == min(batches, stages - stage)


@pytest.mark.parametrize(("stages", "batches"), [(1, 1), (2, 4), (4, 3), (4, 8)])
def test_weight_gradients_follow_input_gradients(stages: int, batches: int) -> None:
    """ZB-H1 runs each half once, W after its I, with at most p micro-batches alive."""
    from tspsim.calibrate.reference import zero_bubble_h1

    for stage in range(stages):
        order = zero_bubble_h1(stages, stage, batches)
        for kind in ("F", "I", "W"):
            assert [a.batch for a in order if a.kind == kind] == list(range(batches))
        at = {action: i for i, action in enumerate(order)}
        assert all(at["F", i] < at["I", i] < at["W", i] for i in range(batches))
        kinds = [action.kind for action in order]
        alive = [kinds[:i].count("F") - kinds[:i].count("W") for i in range(len(kinds) + 1)]
        assert max(alive) <= stages


def test_weight_gradients_that_travel_cannot_wait() -> None:
    """TSP of several ranks is refused under ZB-H1, before anything runs."""
    from tspsim.calibrate import reference

    job = reference.Job(reference.Shape(32, 2, 4, 4, 48), 16, strategy="tsp", degree=2)
    with pytest.raises(UserError, match="cannot wait"):
        reference.build_stage(job, reference.Mesh(), 4, reference.zero_bubble_h1)


def test_layers_are_shared_out_among_stages() -> None:
    """Every layer is on one stage; the first stages have what does not divide."""
    from tspsim.calibrate.reference.pipeline import stage_layers

    assert stage_layers(5, 4) == [range(2), range(2, 3), range(3, 4), range(4, 5)]
