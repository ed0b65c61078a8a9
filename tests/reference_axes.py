"""What a rank process of `test_reference_axes` runs: stages and replicas around a strategy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

SHAPE = {
    "hidden": 32, "layers": 4, "heads": 4, "kv_heads": 4, "ffn": 48, "vocab": 48, "head_dim": 8,
}  # fmt: skip
BATCH, SEQUENCE = 4, 16

Case = dict[str, Any]


def cases(world: int) -> dict[str, Case]:
    """Return the cases of a world size by name: what is outside, and the strategy inside."""
    return {"-".join(map(str, case.values())): case for case in _cases(world)}


def _cases(world: int) -> Iterator[Case]:
    stages = {"outer": "stages", "degrees": 2, "batches": 4}
    replicas = {"outer": "replicas", "degrees": 2, "reshard": True}
    for strategy in ("tsp", "tp", "sp") if world == 4 else ():
        yield {**stages, "strategy": strategy, "degree": 2}
        yield {**replicas, "strategy": strategy, "degree": 2}
    alone: Case = {"degrees": world, "strategy": "tsp", "degree": 1}
    yield {**stages, **alone, "batches": 1, "layers": 5}
    yield {**stages, **alone, "layers": 5, "recompute": "full"}
    yield {**stages, **alone, "vocab": 0}
    halves = {**stages, "schedule": "zero_bubble_h1"}
    yield {**halves, **alone}
    for strategy in ("tp", "sp") if world == 4 else ():
        yield {**halves, "strategy": strategy, "degree": 2}
    uneven = {"hidden": 30, "head_dim": 8, "ffn": 47}  # whose flat weights 4 does not divide
    yield {**replicas, **alone, "reshard": False, **uneven}


def main(rank: int, world: int, folder: str) -> None:
    """Join the other ranks over a file, run all cases, and leave the errors in a file."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    ranks = Ranks()
    errors = {name: ranks.compare(case) for name, case in cases(world).items()}
    dist.destroy_process_group()
    Path(folder, f"rank{rank}.json").write_text(json.dumps(errors), encoding="utf-8")


class Ranks:
    """Runs cases on this rank; meshes are shared by those that agree in them."""

    def __init__(self) -> None:
        self.meshes: dict[Any, Any] = {}

    def compare(self, case: Case) -> dict[str, float]:
        """Return the largest differences from the dense model, per tensor."""
        from tspsim.calibrate import reference

        rest = dict(case)
        outer, degrees = rest.pop("outer"), rest.pop("degrees")
        how = {name: rest.pop(name) for name in ("batches", "schedule", "reshard") if name in rest}
        shape = reference.Shape(**{name: rest.pop(name, size) for name, size in SHAPE.items()})
        job = reference.Job(shape, SEQUENCE, BATCH, dtype="fp64", scratch=100, tile=3, **rest)
        key = degrees, job.strategy == "tsp", job.cut, job.spread
        if key not in self.meshes:
            self.meshes[key] = reference.connect(job, degrees)
        run = staged if outer == "stages" else sharded
        return run(job, self.meshes[key], **how)


@cache
def dense(job: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return inputs, targets, and all results of the dense model."""
    import torch

    from tspsim.calibrate import reference

    model = reference.Dense(job)
    weights = reference.initial(job.shape)
    model.load(weights)
    generator = torch.Generator().manual_seed(1)
    sizes = (2, job.batch, job.sequence)
    ids, targets = torch.randint(0, job.shape.vocab or 2, sizes, generator=generator)
    x = torch.randn(*sizes[1:], job.shape.hidden, generator=generator).double()
    inputs = ids if job.shape.vocab else x.requires_grad_()
    found = {"loss": model.step(inputs, targets), "input": x.grad}
    return inputs, targets, found | {name: model[name].grad for name in weights}


def whole(job: Any) -> Any:
    """Return the job of one rank alone."""
    return replace(job, strategy="dense", degree=1, recompute="none")


def staged(
    job: Any, mesh: Any, batches: int, schedule: str = "one_forward_one_backward"
) -> dict[str, float]:
    """Run a pipeline's step on this rank's stage; compare what is here."""
    from tspsim.calibrate import reference

    inputs, targets, wanted = dense(whole(job))
    model = reference.build_stage(job, mesh, batches, getattr(reference, schedule))
    model.load(reference.initial(job.shape))
    x = model.local(inputs).detach().requires_grad_(not job.shape.vocab)
    loss = model.step(x, model.local(targets))
    pairs = {name: (g, model.shard(name, wanted[name])) for name, (_, g) in model.tensors().items()}
    pairs["loss"] = loss, wanted["loss"]
    if x.grad is not None:
        pairs["input"] = x.grad, model.local(wanted["input"])
    return {name: difference(*pair) for name, pair in pairs.items()}


def sharded(job: Any, mesh: Any, reshard: bool) -> dict[str, float]:
    """Run a step of this rank's replica, on its share of the batch; compare all gradients."""
    from torch.distributed.device_mesh import init_device_mesh

    from tspsim.calibrate import reference

    replicas, replica = mesh.outer.degree, mesh.outer.coordinate
    inputs, targets, wanted = dense(whole(job))
    model = reference.build_sharded(replace(job, batch=job.batch // replicas), mesh)
    model.load(reference.initial(job.shape))
    grid = init_device_mesh("cpu", (replicas, job.world), mesh_dim_names=("dp", "inside"))
    model.shard(grid["dp"], reshard_after_forward=reshard)
    x, y = (
        job.local(ids.chunk(replicas)[replica], mesh.spread.coordinate) for ids in (inputs, targets)
    )
    pairs = {"loss": (model.step(x, y), wanted["loss"])}
    for name, gradient in model.gradients().items():
        part = reference.shard(name, wanted[name], mesh.cut.degree, mesh.cut.coordinate)
        pairs[name] = gradient, part
    return {name: difference(*pair) for name, pair in pairs.items()}


def difference(got: Any, wanted: Any) -> float:
    """Return the largest difference, relative to the largest value."""
    gap = (got.detach() - wanted.detach()).abs().max()
    return float(gap / wanted.abs().max())
