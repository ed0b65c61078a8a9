"""Runs a config's step under a fake process group: `record` says what FSDP2 did."""

from __future__ import annotations

import gc

import torch

from tspsim.calibrate import reference
from tspsim.calibrate.oracle.dtensor import DTYPES
from tspsim.calibrate.oracle.fsdp import model as models
from tspsim.calibrate.oracle.fsdp.config import Config
from tspsim.calibrate.oracle.fsdp.record import Event, Record
from tspsim.calibrate.oracle.fsdp.watch import Watch, by_kind
from tspsim.calibrate.oracle.world import fake_world


def events(config: Config) -> tuple[Event, ...]:
    """Return what FSDP2 did in one step, in the order of issue."""
    return record(config).events


def peak(config: Config) -> dict[str, int]:
    """Return the bytes at the peak of one step by kind, ``Total`` their sum."""
    return record(config).peak


def record(config: Config) -> Record:
    """Return both of the second step of rank 0: the first makes the optimizer's states.

    Gradients are dropped after every step, as trainers do: the step begins with none.
    """
    with fake_world(config.dp * config.job.ranks) as fake:
        replicas = models.mesh(config)
        inside = None
        if config.job.source == "reference":
            inside = reference.connect(models.reference_job(config), config.dp)
        with fake:
            model = _model(config, inside)
        models.shard(config, model, replicas)  # which computes meshes with real numbers
        with fake:
            return _record(config, model)


def _model(config: Config, inside: reference.Mesh | None) -> models.Plain | reference.Sharded:
    if inside is not None:
        return reference.build_sharded(models.reference_job(config), inside)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[config.job.dtype])
    try:
        return models.Plain(config)
    finally:
        torch.set_default_dtype(usual)


def _record(config: Config, model: models.Plain | reference.Sharded) -> Record:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    models.run_batches(model, _batches(config))
    optimizer.step()
    optimizer.zero_grad()
    gc.collect()
    batches = _batches(config)
    watch = Watch(model, optimizer)
    watch.track_inputs(tuple(batches))
    with watch:
        before = by_kind(watch)
        models.run_batches(model, batches, watch.reset_mod_stats)
        optimizer.step()
    return Record(tuple(watch.events), by_kind(watch, "peak"), watch.during, before)


def _batches(config: Config) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [models.batch(config) for _ in range(config.accumulate)]
