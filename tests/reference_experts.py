"""What a rank process of `test_reference` runs of experts: on TSP's ranks, against dense."""

from __future__ import annotations

import itertools
from typing import Any

from tests.reference_axes import dense, whole

SHAPE = {
    "hidden": 32, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 24, "experts": 8, "active": 2,
}  # fmt: skip
BATCH, SEQUENCE = 2, 16

#: Weights of the experts in the draw of every token's: of a skewed one, those of zero get nothing.
DRAWS = {
    "even": (1,) * 8,
    "skewed": (12, 0, 3, 0, 0, 1, 6, 1),
    "one-rank": (1, 1, 0, 0, 0, 0, 0, 0),
}

Case = dict[str, Any]


def cases(world: int) -> dict[str, Case]:
    """Return the cases of a world size by name."""
    found: dict[str, Case] = {}
    for draw, travels in itertools.product(DRAWS, ("tokens", "weights")):
        for recompute, vocab in (("none", 48), ("full", 0)):
            case = {"draw": draw, "travels": travels, "recompute": recompute, "vocab": vocab}
            causal = "contiguous" if draw == "even" else "zigzag"
            found["-".join(map(str, case.values()))] = {**case, "causal": causal, "degree": world}
    return found


def routes(draw: str) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return two different experts for every token, drawn with some weights."""
    import torch

    generator = torch.Generator().manual_seed(2)
    weights = torch.tensor(DRAWS[draw], dtype=torch.float64).expand(BATCH * SEQUENCE, -1)
    drawn = weights.multinomial(SHAPE["active"], generator=generator)
    return tuple(
        tuple(map(tuple, sequence)) for sequence in drawn.view(BATCH, SEQUENCE, -1).tolist()
    )


def job(draw: str, vocab: int, **how: Any) -> Any:
    """Return a case as a job in double precision."""
    from tspsim.calibrate.reference import Job, Shape

    shape = Shape(**SHAPE, vocab=vocab)
    more = {"dtype": "fp64", "scratch": 100, "tile": 3, "strategy": "tsp"} | how
    return Job(shape, SEQUENCE, BATCH, routes=routes(draw), **more)


def even(world: int) -> list[Any]:
    """Return jobs of which all experts get as many tokens of every rank, in bf16, without a mask.

    Their sizes are those of `tests.test_reference.test_experts_count_as_the_simulators_do`.
    """
    from tspsim.calibrate.reference import Job, Shape

    shape = Shape(64, 1, 8, 4, 96, experts=8, active=2)
    table = (tuple((2 * t % 8, (2 * t + 1) % 8) for t in range(64)),)
    how: Any = {"strategy": "tsp", "degree": world, "causal": "off", "scratch": 2**10, "tile": 16}
    ways: Any = ("tokens", "weights")
    return [Job(shape, 64, routes=table, travels=way, **how) for way in ways]


def errors(world: int) -> dict[str, dict[str, float]]:
    """Return a rank's differences from the dense model, by case and tensor."""
    from tspsim.calibrate import reference

    jobs = {name: job(**case) for name, case in cases(world).items()}
    mesh = reference.connect(next(iter(jobs.values())))
    return {name: compare(each, mesh) for name, each in jobs.items()}


def compare(job: Any, mesh: Any) -> dict[str, float]:
    """Return the largest differences from the dense model, per tensor."""
    from tspsim.calibrate import reference

    inputs, targets, wanted = dense(whole(job))
    model = reference.build(job, mesh)
    model.load(reference.initial(job.shape))
    x = model.local(inputs).detach().requires_grad_(not job.shape.vocab)
    loss = model.step(x, model.local(targets))
    found = {name: gap(g, model.shard(name, wanted[name]), wanted[name])
              for name, (_, g) in model.tensors().items()}  # fmt: skip
    found["loss"] = gap(loss, wanted["loss"], wanted["loss"])
    if x.grad is not None:
        found["input"] = gap(x.grad, model.local(wanted["input"]), wanted["input"])
    return found


def gap(got: Any, wanted: Any, everything: Any) -> float:
    """Return the largest difference, relative to the largest value of the dense tensor.

    Of experts that get nothing a rank's own part is zero.
    """
    return float((got.detach() - wanted.detach()).abs().max() / everything.detach().abs().max())
