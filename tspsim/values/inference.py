"""Proves steps of inference: prompts and tokens, step by step, against one dense forward.

Every step is a program of its own. What a rank has in its cache behind one is what it has before
the next: a step that looks for an entry on another rank than the one that holds it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.bindings import Binding, Probe
from tspsim.program.cached import Rows
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Programs
from tspsim.requests import Requests
from tspsim.strategies.base import StrategyOptions
from tspsim.values.check import Comparison, Proof
from tspsim.values.dense import Dense, initial
from tspsim.values.play import Player
from tspsim.values.routes import Routes, add_routes

#: Of one rank: by buffer of the cache and token, what is stored.
Store: TypeAlias = dict[tuple[str, int, int], Array]


def prove(strategy: StrategyOptions, model: ModelShape, steps: Sequence[Workload]) -> Proof:
    """Play steps of inference one after another, and compare every one with the dense model.

    Compared are the last layer's output of every new token, and the logits of every sequence's last
    one, on every rank.

    Parameters
    ----------
    strategy : StrategyOptions
    model : ModelShape
        A small one.
    steps : sequence of Workload
        Each with the `requests` that the one before leaves; the first finds an empty cache.
    """
    programs = [strategy.record(model, step, Optimizer()) for step in steps]
    return replay(programs, strategy.mesh(), model, steps)


def replay(
    programs: Sequence[Programs], mesh: Mesh, model: ModelShape, steps: Sequence[Workload]
) -> Proof:
    """Play recorded steps; see `prove`."""
    last = steps[-1].requests
    assert last is not None
    longest = max(request.length for request in last.each)
    whole = replace(
        steps[-1], phase="forward", batch=len(last.each), sequence=longest, requests=None
    )
    tensors, found = initial(model, whole), Routes()
    for recorded in programs:
        add_routes(found, recorded, mesh, whole)
    dense = Dense(model, whole, tensors, found).run()
    played = _Steps(mesh, dense)
    for recorded in programs:
        played.step(recorded)
    rows = (Comparison(name, max(errors), len(errors)) for name, errors in played.errors.items())
    return Proof(model, whole, tuple(rows))


@dataclass
class _Steps:
    """Steps while they are played, each on what the one before left."""

    mesh: Mesh
    dense: Dense
    errors: dict[str, list[float]] = field(default_factory=dict)
    stores: dict[int, Store] = field(default_factory=dict)

    def step(self, programs: Programs) -> None:
        """Play one step on all ranks."""
        player = Player(programs, self.mesh, self.dense.tensors)
        for rank, state in enumerate(player.states):
            for bound in programs.of(rank).bindings:
                if bound.role == "cache":
                    state.write(bound.operand, self._filled(rank, bound))
        player.run()
        for rank, state in enumerate(player.states):
            for bound in programs.of(rank).bindings:
                if bound.role == "cache":
                    self._keep(rank, bound, state.read(bound.operand))
            for probe, value in player.probes(rank):
                self._compare(rank, probe, value)

    def _filled(self, rank: int, bound: Binding) -> Array:
        """Return a cache as the step finds it; what is looked for and is not there is unknown."""
        rows, store = bound.place, self.stores.get(rank, {})
        out = np.zeros(bound.operand.shape)
        each = rows.requests.each
        for place, (request, position) in enumerate(_entries(rows, self.mesh, rank)):
            if 0 <= position < each[request].cached:
                out[:, place] = store.get((bound.tensor, request, position), np.nan)
        return out

    def _keep(self, rank: int, bound: Binding, value: Array) -> None:
        store = self.stores.setdefault(rank, {})
        for place, (request, position) in enumerate(_entries(bound.place, self.mesh, rank)):
            if position >= 0:
                store[bound.tensor, request, position] = value[:, place]

    def _compare(self, rank: int, probe: Probe, value: Array) -> None:
        dense, where = self.dense.activations[probe.tensor], Where(self.mesh, rank)
        if isinstance(probe.place, Requests):
            each = probe.place.each
            asked = [number for number, request in enumerate(each) if request.new]
            wanted = dense[asked, [each[number].length - 1 for number in asked]]
            got = value[0][asked]
        else:
            rows = _rows(probe.place)
            request, position = rows.entries(where.coordinate(rows.axis))
            real = position >= 0
            wanted, got = dense[request[real], position[real]], value[0][real]
        if len(wanted):
            error = np.abs(got - wanted).max() / np.abs(dense).max()
            error = np.inf if np.isnan(error) else error
            self.errors.setdefault(probe.tensor, []).append(float(error))


def _rows(place: object) -> Rows:
    assert isinstance(place, ActivationShard) and isinstance(place.tokens, Rows)
    return place.tokens


def _entries(rows: Rows, mesh: Mesh, rank: int) -> list[tuple[int, int]]:
    request, position = rows.entries(Where(mesh, rank).coordinate(rows.axis))
    return list(zip(request.tolist(), position.tolist(), strict=True))
