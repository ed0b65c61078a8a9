"""What the replica of a scenario is to a scheduler: the time of any step, and its cache."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tspsim.engine.serving.types import Cache, Limits, Rows, StepTime
from tspsim.files.errors import UserError
from tspsim.files.units import format_bytes
from tspsim.requests import Request, Requests
from tspsim.runner import Run, simulate_step
from tspsim.scenario.types import Scenario

#: Cached tokens at which the bytes of one are counted: pages and padding hardly matter.
PROBE = 2**16


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


def replica_of(
    scenario: Scenario, limits: Limits, block: int, tokens: int | None = None
) -> Replica:
    """Return the replica of a scenario: every step that is asked for is simulated.

    Parameters
    ----------
    scenario : Scenario
        Of a phase of inference; its own sequences do not matter.
    limits : Limits
        The largest step says what is left for the cache.
    block : int
        Tokens of a block of the cache.
    tokens : int, optional
        That the cache holds; when not given, what weights and the largest step leave of the memory.

    Raises
    ------
    UserError
        When the scenario has no cache, or there is no room for a block.
    """
    if scenario.workload.series is None:
        raise UserError(
            f"'{scenario.name}' is a step of phase {scenario.workload.phase}; serve wants one of "
            "inference: workload.phase=decode workload.cached=1024, for example"
        )
    steps = Steps(scenario, block)
    per_token, left = steps.per_token(), steps.left(limits.tokens)
    blocks = int((left // per_token if tokens is None else tokens) // block)
    if blocks < 1:
        raise UserError(_no_room(scenario, (per_token, left), block, tokens))
    ranks = scenario.strategy.mesh().ranks // scenario.strategy.dp
    return Replica(steps, Cache(blocks, block, per_token * ranks))


def _no_room(scenario: Scenario, sizes: tuple[float, float], block: int, tokens: int | None) -> str:
    if tokens is not None:
        return f"--cache-tokens: {tokens:,} tokens; must be at least those of a block, {block:,}"
    per_token, left = sizes
    return (
        f"'{scenario.name}' has no room for a cache: weights and the largest step leave "
        f"{format_bytes(max(left, 0))} of a rank, and a block of {block} tokens takes "
        f"{format_bytes(block * per_token)}; use more devices, or a smaller model or --max-tokens"
    )


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a scenario on any sequences.

    Parameters
    ----------
    scenario : Scenario
    block : int
        Tokens of a page of the cache.
    """

    scenario: Scenario
    block: int

    def __call__(self, rows: Rows) -> float:
        """Return the seconds of a step."""
        series = self.scenario.workload.series
        assert series is not None
        each = tuple(_request(*row) for row in rows)
        return self._played(each).summary.step_time + series.overhead

    def _played(self, each: tuple[Request, ...]) -> Run:
        series = self.scenario.workload.series
        assert series is not None
        requests = Requests(each, replace(series.cache, block=self.block))
        workload = replace(self.scenario.workload.of(requests), series=None)
        return simulate_step(replace(self.scenario, workload=workload))

    def per_token(self) -> float:
        """Return the bytes that one more token of a replica takes on a rank, on average."""
        run = self._played((_request(1, PROBE - 1),))
        memory = run.summary.memory.at_peak
        return float(memory["kv_cache"]) / PROBE

    def left(self, tokens: int) -> float:
        """Return the bytes of the fullest rank that a step of so many tokens leaves for a cache."""
        memory = self._played((_request(tokens, 0),)).summary.memory
        return memory.capacity - (memory.peak - memory.at_peak["kv_cache"])


def _request(new: int, cached: int) -> Request:
    return Request(new, (cached,) if cached else (), 0, decodes=new == 1)
