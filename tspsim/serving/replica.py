"""What the replica of a scenario is to a scheduler: the time of any step, and its cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tspsim.engine.serving.types import Cache, Rows, StepTime
from tspsim.files.errors import UserError
from tspsim.files.units import format_bytes
from tspsim.scenario.types import Scenario


@dataclass(frozen=True, slots=True)
class Replica:
    """The ranks that serve one stream of requests.

    Parameters
    ----------
    step_time : StepTime
        May be costly to ask.
    cache : Cache
    """

    step_time: StepTime
    cache: Cache


def replica_of(scenario: Scenario, block: int, tokens: int | None = None) -> Replica:
    """Return the replica of a scenario.

    Parameters
    ----------
    scenario : Scenario
    block : int
        Tokens of a block of the cache.
    tokens : int, optional
        That the cache holds; when not given, what weights leave of the memory.

    Raises
    ------
    UserError
        When there is no room for a block.
    """
    bound = _Bound(scenario)
    blocks = int((bound.left // bound.per_token if tokens is None else tokens) // block)
    if blocks < 1:
        raise UserError(_no_room(bound, block, tokens))
    return Replica(bound, Cache(blocks, block, bound.per_token))


def _no_room(bound: _Bound, block: int, tokens: int | None) -> str:
    if tokens is not None:
        return f"--cache-tokens: {tokens:,} tokens; must be at least those of a block, {block:,}"
    return (
        f"'{bound.scenario.name}' has no room for a cache: weights leave "
        f"{format_bytes(max(bound.left, 0))} on {bound.ranks} ranks, and a block of {block} tokens "
        f"takes {format_bytes(block * bound.per_token)}; use more devices, or a smaller model"
    )


@dataclass(frozen=True, slots=True)
class _Bound:
    """The least that a step can take: what has to be read or computed, at the devices' peaks."""

    scenario: Scenario

    @property
    def ranks(self) -> int:
        strategy = self.scenario.strategy
        return strategy.mesh().ranks // strategy.dp

    @property
    def per_token(self) -> float:
        """Bytes of the keys and values of one token."""
        model = self.scenario.model
        return float(model.layers * model.attended * self.scenario.workload.itemsize)

    @property
    def weights(self) -> float:
        return float(self.scenario.model.parameters * self.scenario.workload.itemsize)

    @property
    def left(self) -> float:
        """Bytes that weights leave on all ranks."""
        device = self.scenario.topology.devices[0]
        return self.ranks * (device.memory - device.reserved) - self.weights

    def __call__(self, rows: Rows) -> float:
        """Return the seconds of a step."""
        device, model = self.scenario.topology.devices[0], self.scenario.model
        rate = self.ranks * device.peak(self.scenario.workload.dtype)
        bandwidth = self.ranks * device.memory_bandwidth
        width = 2 * model.layers * model.heads * (model.head_dim + model.value_dim)

        def attention(part: Iterable[tuple[int, int]]) -> float:
            pairs = sum(new * (cached + new / 2) for new, cached in part)
            read = sum(new + cached for new, cached in part)
            return max(pairs * width / rate, read * self.per_token / bandwidth)

        tokens = sum(new for new, _ in rows)
        dense = max(2 * tokens * model.active_parameters / rate, self.weights / bandwidth)
        return (
            dense
            + attention([row for row in rows if row[0] == 1])
            + sum(attention([row]) for row in rows if row[0] > 1)
        )
