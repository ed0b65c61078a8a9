"""The reference implementation on real ranks (gloo) equals the dense model."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from tests.reference_ranks import cases, main

torch = pytest.importorskip("torch", reason="torch is missing: install tspsim[calibrate]")

WORLDS = (2, 4)
#: Seconds after which ranks that have not ended are stopped.
LIMIT = 240

Errors = list[dict[str, dict[str, float]]]


def spawn(world: int, folder: Path) -> Errors:
    """Run all cases of a world size, one process per rank; return every rank's errors."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=main, args=(i, world, str(folder))) for i in range(world)]
    for rank in ranks:
        rank.start()
    end = time.monotonic() + LIMIT
    while any(rank.is_alive() for rank in ranks) and time.monotonic() < end:
        if any(rank.exitcode for rank in ranks):
            break  # the others would wait for it
        time.sleep(0.05)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    assert codes == [0] * world, f"exit codes of the ranks (None: stopped at the limit): {codes}"
    return [json.loads((folder / f"errors.{i}.json").read_text("utf-8")) for i in range(world)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Errors]:
    """Return the differences from the dense model of all cases: started once per world size."""
    return {world: spawn(world, tmp_path_factory.mktemp(f"ranks{world}")) for world in WORLDS}


def largest(errors: Errors, case: str) -> tuple[float, str]:
    """Return the largest difference of a case over ranks, and of what."""
    return max((error, what) for rank in errors for what, error in rank[case].items())


@pytest.mark.parametrize(("world", "case"), [(w, case) for w in WORLDS for case in cases(w)])
def test_equals_the_dense_model(measured: dict[int, Errors], world: int, case: str) -> None:
    """Output, loss, input gradient and every weight gradient agree to 1e-10 in float64."""
    error, what = largest(measured[world], case)
    assert error < 1e-10, what


@pytest.mark.parametrize("world", WORLDS)
def test_all_weights_and_results_are_compared(measured: dict[int, Errors], world: int) -> None:
    """No case is right because it compares nothing."""
    for rank in measured[world]:
        for name, case in cases(world).items():
            ends = {"final_norm", "embedding", "head"} if case["vocab"] else {"input"}
            assert len(rank[name]) == 2 * 9 + len(ends) + 2
            assert ends < set(rank[name])


@pytest.mark.parametrize(("dtype", "bound"), [("fp32", 1e-5), ("bf16", 0.1)])
@pytest.mark.parametrize("world", WORLDS)
def test_shorter_types_run(
    measured: dict[int, Errors], world: int, dtype: str, bound: float
) -> None:
    """In single precision and bf16 the same code gives the same model, as well as they can."""
    error, what = largest(measured[world], dtype)
    assert 0 < error < bound, what
