"""What a rank process of `test_reference` runs: every case of its world size, against dense."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests import reference_experts, reference_inference

SMALL = {"hidden": 32, "layers": 2, "heads": 8, "ffn": 48}
BATCH, SEQUENCE = 2, 16


def cases(world: int) -> dict[str, dict[str, Any]]:
    """Return the jobs of a world size by name, as keyword arguments."""
    return {"-".join(map(str, job.values())): job for job in _cases(world)}


def _cases(world: int) -> Iterator[dict[str, Any]]:
    layouts = itertools.product(("zigzag", "contiguous", "off"), (8, 4), (0, 48))
    for causal, kv_heads, vocab in layouts:
        base = {"causal": causal, "kv_heads": kv_heads, "vocab": vocab}
        recompute = "full" if (kv_heads == 4) == (vocab == 0) else "none"
        for other in ("none", "full"):
            for lookahead in (0, 1) if causal == "zigzag" else (1,):
                tsp = {"strategy": "tsp", "degree": world, "lookahead": lookahead}
                yield {**base, **tsp, "recompute": other}
        if causal != "contiguous":
            yield {**base, "strategy": "tp", "degree": world, "recompute": recompute}
        for kv in ("all_gather", "ring"):
            yield {**base, "strategy": "sp", "degree": world, "kv": kv, "recompute": recompute}
            if world == 4:
                mesh = {"strategy": "tp_sp", "tp": 2, "sp": 2, "kv": kv}
                yield {**base, **mesh, "recompute": recompute}


def main(rank: int, world: int, folder: str) -> None:
    """Join the other ranks over a file, run all cases, and leave the errors in a file."""
    import torch
    import torch.distributed as dist

    from tspsim.calibrate import reference

    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    errors = Cases(world).run()
    experts = reference_experts.errors(world)
    inference = reference_inference.found(world)
    real = [counted(job, reference.connect(job), rank) for job in watched(world)]
    dist.destroy_process_group()
    fake = [imagined(job) for job in watched(world)] if rank == 0 else []
    result = {"errors": errors, "experts": experts, "real": real, "fake": fake}
    result |= {"inference": inference[0], "steps": inference[1]}
    Path(folder, f"rank{rank}.json").write_text(json.dumps(result), encoding="utf-8")


def watched(world: int) -> list[Any]:
    """Return jobs that are counted twice: with real peers, and with fake ones."""
    from tspsim.calibrate.reference import Job, Shape

    shape = Shape(64, 1, 8, 4, 96)
    how: list[dict[str, Any]] = [
        {"strategy": "tsp", "recompute": "none"},
        {"strategy": "tsp", "recompute": "full", "causal": "off"},
        {"strategy": "tp"},
        {"strategy": "sp", "kv": "ring"},
    ]
    jobs = [Job(shape, 64, degree=world, scratch=2**10, tile=16, **job) for job in how]
    return [*jobs, *reference_experts.even(world)]


def counted(job: Any, mesh: Any, rank: int = 0) -> list[Any]:
    """Run a step; on rank 0 return its flops, peak bytes, and kind and bytes of its collectives."""
    import torch

    from tspsim.calibrate import reference

    model = reference.build(job, mesh)
    shape = (job.batch, job.tokens, job.shape.hidden)
    x = [torch.zeros(shape, dtype=job.torch_dtype, requires_grad=True)]
    if rank:
        model.step(x.pop())
        return []
    from tspsim.calibrate.oracle.observe import observe

    # When Python frees circles of references depends on all that has run before.
    seen = observe(lambda: model.step(x.pop()), model, *x, collect=True)  # type: ignore[arg-type]
    return [seen.flops, seen.peak, [list(call) for call in seen.calls]]


def imagined(job: Any) -> list[Any]:
    """Return the same of rank 0 of a world that is not there."""
    from tspsim.calibrate import reference
    from tspsim.calibrate.oracle.world import fake_world

    with fake_world(job.world) as fake:
        mesh = reference.connect(job)
        with fake:
            return counted(job, mesh)


class Cases:
    """Runs jobs on this rank; meshes and dense results are shared by those that agree in them.

    Parameters
    ----------
    world : int
    """

    def __init__(self, world: int) -> None:
        self.world = world
        self.meshes: dict[Any, Any] = {}
        self.denses: dict[Any, Any] = {}

    def run(self) -> dict[str, dict[str, float]]:
        """Return the errors of every case by what was compared."""
        found = {}
        for name, case in cases(self.world).items():
            found[name] = self.compare(self.job(case))
        for dtype in ("fp32", "bf16"):
            tsp = {"strategy": "tsp", "degree": self.world, "kv_heads": 4, "vocab": 48}
            found[dtype] = self.compare(replace(self.job(tsp), dtype=dtype))
        return found

    def job(self, case: dict[str, Any]) -> Any:
        """Return a case as a job in double precision, small tiles and pieces."""
        from tspsim.calibrate.reference import Job, Shape

        rest = dict(case)
        shape = Shape(**SMALL, kv_heads=rest.pop("kv_heads"), vocab=rest.pop("vocab"))
        return Job(shape, SEQUENCE, BATCH, dtype="fp64", scratch=100, tile=3, **rest)

    def compare(self, job: Any) -> dict[str, float]:
        """Return the largest differences from the dense model, per tensor."""
        from tspsim.calibrate import reference

        key = job.strategy == "tsp", job.cut, job.spread
        if key not in self.meshes:
            self.meshes[key] = reference.connect(job)
        dense = self.dense(job)
        model = reference.build(job, self.meshes[key])
        model.load(dense["weights"])
        x = model.local(dense["inputs"]).detach().to(_dtype(job, dense["inputs"]))
        x.requires_grad_(not job.shape.vocab)
        targets = model.local(dense["targets"])
        output = model.hidden(x.detach())
        loss = model.step(x, targets)
        pairs = {name: (g, model.shard(name, dense[name])) for name, (_, g) in _tensors(model)}
        pairs |= {"output": (output, model.local(dense["output"])), "loss": (loss, dense["loss"])}
        if x.grad is not None:
            pairs["input"] = (x.grad, model.local(dense["input"]))
        return {name: _difference(*pair) for name, pair in pairs.items()}

    def dense(self, job: Any) -> dict[str, Any]:
        """Return weights, inputs and all results of the dense model in double precision."""
        import torch

        from tspsim.calibrate import reference

        key = job.shape, job.causal == "off"
        if key in self.denses:
            found: dict[str, Any] = self.denses[key]
            return found
        weights = reference.initial(job.shape)
        model = reference.Dense(replace(job, dtype="fp64"))
        model.load(weights)
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(0, job.shape.vocab or 2, (2, BATCH, SEQUENCE), generator=generator)
        x = torch.randn(BATCH, SEQUENCE, job.shape.hidden, generator=generator).double()
        inputs = ids[0] if job.shape.vocab else x.requires_grad_()
        output = model.hidden(inputs).detach()
        loss = model.step(inputs, ids[1])
        found = {"weights": weights, "inputs": inputs, "targets": ids[1], "input": x.grad}
        found |= {"output": output, "loss": loss}
        found |= {name: model[name].grad for name in weights}
        self.denses[key] = found
        return found


def _tensors(model: Any) -> Any:
    return model.tensors().items()


def _dtype(job: Any, inputs: Any) -> Any:
    return job.torch_dtype if inputs.is_floating_point() else inputs.dtype


def _difference(got: Any, wanted: Any) -> float:
    """Return the largest difference, relative to the largest value."""
    wanted = wanted.detach().double()
    gap = (got.detach().double() - wanted).abs().max()
    return float(gap / wanted.abs().max())
