"""Changes of a scenario that may lower its peak memory, tried one at a time by simulation.

A change keeps what is computed: the model, the tokens of a step, the degrees and the hardware
stay. What a strategy does not know, or what does not divide, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tspsim.explain.replay import Replayed
from tspsim.files.errors import UserError
from tspsim.runner import simulate_scenario
from tspsim.scenario.loader import from_document
from tspsim.scenario.types import Scenario


class Remedy(NamedTuple):
    """A change, and what a step then takes.

    Attributes
    ----------
    overrides : tuple of str
        As written on the command line.
    replayed : Replayed
    """

    overrides: tuple[str, ...]
    replayed: Replayed


def remedies(scenario: Scenario, progress: Callable[[], None] = lambda: None) -> list[Remedy]:
    """Return what every possible change gives, the lowest peak first.

    Parameters
    ----------
    scenario : Scenario
    progress : callable
        Called after every simulation.
    """
    found = []
    for overrides, changed in possible(scenario):
        summary = simulate_scenario(changed).summary
        memory = summary.memory
        replayed = Replayed(summary.step_time, memory.peak, memory.capacity - memory.peak)
        found.append(Remedy(overrides, replayed))
        progress()
    return sorted(found, key=lambda r: (r.replayed.peak, r.replayed.step_time))


def possible(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], Scenario]]:
    """Yield the changes that the scenario allows, each with the changed scenario."""
    for overrides in candidates(scenario.document):
        try:
            yield overrides, from_document(scenario.document, overrides)
        except UserError:
            continue  # does not divide, or the strategy has no such thing


def candidates(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield changes of a resolved scenario, some of which it may not allow."""
    workload, strategy = document["workload"], document["strategy"]
    if workload["phase"] == "train":
        weaker = ("none", "selective", "full").index(workload["recompute"])
        yield from ((f"workload.recompute={way}",) for way in ("selective", "full")[weaker:])
    if workload["batch"] % 2 == 0:
        half, twice = workload["batch"] // 2, workload["micro_batches"] * 2
        yield f"workload.batch={half}", f"workload.micro_batches={twice}"
    if document["model"]["vocab"]:
        yield (f"workload.logits_chunks={4 * workload['logits_chunks']}",)
    if strategy.get("share_recompute") and workload["recompute"] == "full":
        yield ("strategy.share_recompute=false",)
    yield from _of_strategy(strategy)


def _of_strategy(strategy: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if strategy.get("sequence_parallel") is False:
        yield ("strategy.sequence_parallel=true",)
    if strategy.get("keep_gathered_kv"):
        yield ("strategy.keep_gathered_kv=false",)
    if strategy.get("slots", 2) > 2:
        yield ("strategy.slots=2",)
    if strategy.get("lookahead"):
        yield ("strategy.lookahead=0",)
    if "head_buckets" in strategy:
        yield (f"strategy.head_buckets={2 * strategy['head_buckets']}",)
    for way in ("all_gather", "ring", "ulysses"):
        if strategy.get("kv", way) != way:
            yield (f"strategy.kv={way}",)
    if strategy.get("dp", 1) > 1 and "zero" in strategy:
        yield (f"strategy.zero={strategy['zero'] + 1}",)
