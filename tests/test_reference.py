"""The reference implementation on real ranks (gloo) equals the dense model."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reference_experts import cases as mixtures
from tests.reference_inference import cases as served
from tests.reference_inference import chains
from tests.reference_ranks import Cases, cases, main
from tests.schedules import record
from tspsim.calibrate.oracle.inference.record import Call, Record
from tspsim.calibrate.oracle.inference.simulated import own_keys, simulate
from tspsim.experts import Experts
from tspsim.files.errors import UserError
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.by_rank import work_of

torch = pytest.importorskip("torch", reason="torch is missing: install tspsim[calibrate]")

WORLDS = (2, 4)
#: Seconds after which ranks that have not ended are stopped.
LIMIT = 240

Errors = list[dict[str, dict[str, float]]]


def spawn(
    world: int, folder: Path, run: Callable[[int, int, str], None] = main
) -> list[dict[str, Any]]:
    """Run all cases of a world size, one process per rank; return what every rank found."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=run, args=(i, world, str(folder))) for i in range(world)]
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
    return [json.loads((folder / f"rank{i}.json").read_text("utf-8")) for i in range(world)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Return what the ranks of all world sizes found: each is started once."""
    return {world: spawn(world, tmp_path_factory.mktemp(f"ranks{world}")) for world in WORLDS}


@pytest.fixture(scope="module")
def measured(found: dict[int, list[dict[str, Any]]]) -> dict[int, Errors]:
    """Return every rank's differences from the dense model by world size."""
    return {world: [rank["errors"] for rank in ranks] for world, ranks in found.items()}


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


@pytest.mark.parametrize(("world", "case"), [(w, c) for w in WORLDS for c in mixtures(w)])
def test_experts_on_tsps_ranks_equal_the_dense_loop(
    found: dict[int, list[dict[str, Any]]], world: int, case: str
) -> None:
    """Tokens or weights that travel, skewed, with experts and whole ranks that get nothing."""
    for rank in found[world]:
        errors = rank["experts"][case]
        ends = {"final_norm", "embedding", "head"} if mixtures(world)[case]["vocab"] else {"input"}
        assert len(errors) == 2 * 10 + len(ends) + 1
        error, what = max((error, what) for what, error in errors.items())
        assert error < 1e-10, what


@pytest.mark.parametrize("world", WORLDS)
def test_fake_ranks_count_what_real_ranks_do(
    found: dict[int, list[dict[str, Any]]], world: int
) -> None:
    """Flops, messages and peak memory are the same, to the byte, with and without real peers."""
    first = found[world][0]
    assert len(first["real"]) == 6
    assert first["real"] == first["fake"]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("place", "layout"), [(4, "tokens"), (5, "ring")])
def test_experts_count_as_the_simulators_do(
    found: dict[int, list[dict[str, Any]]], world: int, place: int, layout: str
) -> None:
    """Flops, and every message's kind and bytes, are those of the program of TSP."""
    flops, _, calls = found[world][0]["real"][place]
    workload = Workload(64, dtype="bf16", causal="off")
    tsp = ("tsp", {"degree": world, "experts": {"layout": layout}})
    model = ModelShape(64, 1, 8, 4, 96, experts=Experts(8, 2, 96))
    programs, mesh = record(tsp, model, workload, Optimizer("adamw", 2, 2))
    its = programs.of(0)
    said = [(op.message.collective, op.message.bytes) for op in its.ops if op.message]
    assert Counter(map(tuple, calls)) == Counter(said)
    works = (work_of(op, mesh, 0) for op in its.ops)
    assert flops == sum(work.flops for work in works if work)


@pytest.mark.parametrize(("world", "case"), [(w, c) for w in WORLDS for c in served(w)])
def test_token_by_token_equals_one_forward(
    found: dict[int, list[dict[str, Any]]], world: int, case: str
) -> None:
    """Prompts, in pieces and of other lengths, and what follows: every output, and all logits."""
    for rank in found[world]:
        errors = rank["inference"][case]
        assert max(errors["output"], errors["logits"]) < 1e-10
    together = sum(rank["inference"][case]["tokens"] for rank in found[world])
    assert together >= 27  # every token is compared, on one rank at least


@pytest.mark.parametrize(("world", "chain"), [(w, c) for w in WORLDS for c in chains(w)])
def test_steps_count_as_the_simulators_do(
    found: dict[int, list[dict[str, Any]]], world: int, chain: str
) -> None:
    """Of every rank: flops but for own keys, messages in order, bytes of the cache that is kept."""
    for rank, saw in enumerate(found[world]):
        for config, step in zip(chains(world)[chain], saw["steps"][chain], strict=True):
            flops, cache, calls = step
            got = Record(flops - own_keys(config, rank), cache, tuple(Call(*c) for c in calls))
            assert got == simulate(config, rank), config.name


# ---- what needs no ranks -------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["dense", "tsp", "tp", "sp"])
@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("vocab", [0, 48])
def test_one_rank_needs_nobody(strategy: str, recompute: str, vocab: int) -> None:
    """On one rank every strategy is the dense model, without any process group."""
    alone = Cases(1)
    case = {"strategy": strategy, "recompute": recompute, "kv_heads": 4, "vocab": vocab}
    assert max(alone.compare(alone.job(case)).values()) < 1e-10


@pytest.mark.parametrize("causal", ["zigzag", "contiguous", "off"])
@pytest.mark.parametrize("block", [2, 3, 100])
def test_tiles_cover_the_mask_once(causal: Any, block: int) -> None:
    """The tiles between any two ranks' tokens are the pairs of the mask, no pair twice."""
    from tspsim.calibrate.reference import Job, Shape, attention

    job = Job(Shape(32, 1, 4, 4, 32), 48, strategy="sp", degree=4, causal=causal)
    for mine, theirs in itertools.product(range(4), repeat=2):
        q, k = job.positions(mine), job.positions(theirs)
        counted = torch.zeros(len(q), len(k), dtype=torch.int64)
        found = attention.tiles(job.ranges(mine), job.ranges(theirs), causal=causal != "off")
        for tile in found:
            for part in attention.blocks(tile, block):
                square = torch.ones_like(counted[part.queries, part.keys])
                counted[part.queries, part.keys] += square.tril() if part.causal else square
        mask = torch.ones_like(counted) if causal == "off" else (k[None] <= q[:, None]).long()
        assert torch.equal(counted, mask)


@pytest.mark.parametrize("causal", [False, True])
def test_plain_products_equal_the_flash_kernel(causal: bool) -> None:
    """What runs where no flash kernel does gives the same output and gradients."""
    from tspsim.calibrate.reference import attention

    torch.manual_seed(0)
    q, do = (torch.randn(2, 8, 12, 4, dtype=torch.float64) for _ in range(2))
    k, v = (torch.randn(2, 2, 12, 4, dtype=torch.float64) for _ in range(2))
    o, lse = attention.forward(q, k, v, causal)
    saved = attention.Saved(q, o, lse, do)
    torch.testing.assert_close(attention.plain(q, k, v, causal), (o, lse))
    wanted = tuple(attention.backward(saved, k, v, causal))
    torch.testing.assert_close(attention.plain_backward(saved, k, v, causal), wanted)


def calls_of(job: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what one rank of a job issues in forward, on an axis whose peers are not there."""
    from tspsim.calibrate import reference
    from tspsim.calibrate.reference import attention, mesh, ops

    log: list[str] = []

    def logged(name: str, result: Any) -> Any:
        def call(*args: Any, **_: Any) -> Any:
            log.append(name)
            return result(*args)

        return call

    def pending(shape: Any) -> Any:
        return lambda _, x, *__: mesh.Pending(x.new_zeros(shape(x)))

    same, stacked = pending(lambda x: x.shape), pending(lambda x: (job.degree, *x.shape))
    kinds = {"broadcast": same, "shift": same, "all_gather": stacked}
    for kind, result in kinds.items():
        monkeypatch.setattr(mesh.Axis, kind, logged(kind, result))
    monkeypatch.setattr(attention, "forward", logged("attend", attention.forward))
    monkeypatch.setattr(ops, "gated", logged("gated", ops.gated))
    axis = mesh.Axis(list(range(job.degree)), 0)
    model = reference.build(job, mesh.Mesh(axis, axis))
    model.hidden(torch.zeros(1, job.tokens, job.shape.hidden))
    return log


@pytest.mark.parametrize("lookahead", [0, 1])
def test_what_comes_next_travels_while_this_is_computed(
    monkeypatch: pytest.MonkeyPatch, lookahead: Any
) -> None:
    """The next weights are always on their way, and with lookahead the next K and V as well."""
    from tspsim.calibrate.reference import Job, Shape

    shape = Shape(48, 1, 6, 6, 48)
    how: Any = {"causal": "off", "dtype": "fp32", "lookahead": lookahead}
    log = calls_of(Job(shape, 12, strategy="tsp", degree=3, **how), monkeypatch)
    mlp = ["shift", "gated", "shift", "gated", "gated"]
    turn = ["broadcast", "all_gather"]
    if lookahead:
        wanted = ["broadcast", *turn, *turn, "attend", "all_gather", "attend", "attend"]
    else:
        wanted = ["broadcast", *turn, "attend", *turn, "attend", "all_gather", "attend"]
    assert log == [*wanted, *mlp]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"degree": 3}, "heads: 3 ranks do not divide 4"),
        ({"sequence": 20}, "sequence: 8 chunks do not divide 20 tokens"),
        ({"shape": {"kv_heads": 2}}, "kv_heads: 4 ranks do not divide 2"),
        ({"shape": {"vocab": 10}}, "vocab: 4 ranks do not divide 10"),
        ({"shape": {"head_dim": 5}}, "rotary positions need an even one, not 5"),
    ],
)
def test_a_job_that_does_not_divide_is_refused(change: dict[str, Any], told: str) -> None:
    """What cannot be cut is said before anything is started."""
    from tspsim.calibrate.reference import Job, Shape

    sizes = {"hidden": 32, "layers": 1, "heads": 4, "kv_heads": 4, "ffn": 32}
    shape = Shape(**sizes | change.pop("shape", {}))
    with pytest.raises(UserError, match=told):
        Job(shape, **{"sequence": 16, "strategy": "tsp", "degree": 4} | change)
