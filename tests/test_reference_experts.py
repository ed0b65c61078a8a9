"""A mixture of experts in the reference, alone; `test_reference` has it on real ranks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reference_experts import SHAPE, cases, compare, job
from tspsim.files.errors import UserError

torch = pytest.importorskip("torch", reason="torch is missing: install tspsim[calibrate]")


@pytest.mark.parametrize("case", ["skewed-tokens-full-0", "one-rank-weights-none-48"])
def test_one_rank_needs_nobody(case: str) -> None:
    """On one rank both are the dense model, without any process group."""
    from tspsim.calibrate import reference

    errors = compare(job(**cases(1)[case]), reference.Mesh())
    assert max(errors.values()) < 1e-10


def test_rows_that_come_back_to_other_tokens_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: rows in the order in which they came are not expert by expert."""
    from tspsim.calibrate import reference
    from tspsim.calibrate.reference import experts

    made = experts.combine
    monkeypatch.setattr(experts, "combine", lambda rows, *rest: made(rows.flip(0), *rest))
    errors = compare(job(**cases(1)["skewed-tokens-full-0"]), reference.Mesh())
    assert max(errors.values()) > 1e-3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"degree": 3}, "heads: 3 ranks do not divide 8"),
        ({"degree": 8, "kv_heads": 8, "experts": 12}, "experts: 8 ranks do not divide 12"),
        ({"strategy": "tp"}, "experts: under dense and tsp, not under tp"),
        ({"routes": ()}, "routes: 2 times 16 tokens have experts"),
        ({"routes": (((0, 0),) * 16,) * 2}, r"2 different ones of 8, not to \(0, 0\)"),
        ({"routes": (((0, 8),) * 16,) * 2}, r"2 different ones of 8, not to \(0, 8\)"),
    ],
)
def test_a_job_that_cannot_be_is_refused(change: dict[str, Any], told: str) -> None:
    """What is no table of routes, or cannot be dealt, is said before anything is started."""
    from tspsim.calibrate.reference import Job, Shape

    good = job("even", 0)
    sizes = {name: change.pop(name) for name in ("kv_heads", "experts") if name in change}
    how: dict[str, Any] = {"strategy": "tsp", "degree": 2, "routes": good.routes} | change
    with pytest.raises(UserError, match=told):
        Job(Shape(**{**SHAPE, **sizes}), good.sequence, good.batch, **how)


def test_stages_and_sharded_replicas_have_no_experts() -> None:
    """Their micro-batches and replicas would need routes of their own: refused."""
    from tspsim.calibrate import reference

    with pytest.raises(UserError, match="take build"):
        reference.build_stage(job("even", 48), reference.Mesh(), 2)
    with pytest.raises(UserError, match="take build"):
        reference.build_sharded(job("even", 48), reference.Mesh())
