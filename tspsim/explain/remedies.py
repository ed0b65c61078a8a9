"""Changes of a scenario that may lower its peak or its time, simulated.

They are tried one at a time. A change keeps what is computed: the model, the tokens of a step, the
degrees and the hardware stay; that tokens spread evenly over experts is tried to see what it gives.
What a strategy does not know, or what does not divide, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, get_args

from tspsim.analysis.summary import Summary
from tspsim.explain.replay import Replayed
from tspsim.files.errors import UserError
from tspsim.program.stages import AtOnce
from tspsim.runner import simulate_scenario
from tspsim.scenario.inference import infers
from tspsim.scenario.loader import from_document
from tspsim.scenario.types import Scenario
from tspsim.strategies.parts.spread import LAYOUTS


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


#: Shorter pieces of a prompt are not tried: tokens.
LEAST_PIECE = 512

#: A change as overrides, and the changed scenario.
Change: TypeAlias = tuple[tuple[str, ...], Scenario]


def remedies(
    changes: Iterable[Change], progress: Callable[[], None] = lambda: None
) -> list[Remedy]:
    """Return what changes give.

    Parameters
    ----------
    changes : iterable of (overrides, Scenario)
    progress : callable
        Called after every simulation.
    """
    found = []
    for overrides, changed in changes:
        found.append(Remedy(overrides, replayed_of(simulate_scenario(changed).summary)))
        progress()
    return found


def replayed_of(summary: Summary) -> Replayed:
    """Return what a step takes; of inference all steps, and the fullest of them."""
    memory, found = summary.memory, summary.inference
    seconds = found.latency if found else summary.step_time
    return Replayed(seconds, memory.peak, memory.capacity - memory.peak)


def possible(
    scenario: Scenario, ways: Callable[[Mapping[str, Any]], Iterator[tuple[str, ...]]]
) -> Iterator[Change]:
    """Yield the changes that a scenario allows, of those that are tried of its document."""
    for overrides in ways(scenario.document):
        try:
            yield overrides, from_document(scenario.document, overrides)
        except UserError:
            continue  # does not divide, or the strategy has no such thing


def candidates(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield changes that may lower the peak or recompute less, some of which may not be allowed."""
    workload, strategy = document["workload"], document["strategy"]
    if infers(workload["phase"]):  # has its own: `of_inference`
        return
    if workload["phase"] == "train":
        ways = ("none", "selective", "full")
        yield from ((f"workload.recompute={way}",) for way in ways if way != workload["recompute"])
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


def of_inference(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield changes of the cache, of a prompt's pieces and of what travels in inference."""
    workload, strategy = document["workload"], document["strategy"]
    if not infers(workload["phase"]):
        return
    cache = workload.get("cache") or {}
    if cache.get("dtype") != "fp8":
        pages = f", block: {cache['block']}" if "block" in cache else ""
        yield (f"workload.cache={{dtype: fp8{pages}}}",)
    yield from ((f"workload.chunk={tokens}",) for tokens in _pieces(workload))
    for name, ways in (("passes", ("kv", "queries")), ("weights", ("stay", "travel"))):
        if name in strategy:
            yield from ((f"strategy.{name}={way}",) for way in ways if strategy[name] != way)
    for way in ("all_gather", "ring"):
        if strategy.get("kv", way) != way:
            yield (f"strategy.kv={way}",)


def _pieces(workload: Mapping[str, Any]) -> Iterator[int]:
    """Yield pieces of prompts other than there are: twice as long, half as long, and a quarter."""
    prompts = workload.get("requests") or [workload.get("prompt") or workload.get("sequence") or 0]
    longest = min(workload.get("chunk") or max(prompts), max(prompts))
    if longest < max(prompts):
        yield min(2 * longest, max(prompts))
    yield from (longest // parts for parts in (2, 4) if longest >= LEAST_PIECE * parts)


def of_experts(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield changes of where experts lie and what travels, and how tokens spread over them."""
    workload, strategy = document["workload"], document["strategy"]
    if document["model"].get("experts") is None:
        return
    routing, now = workload.get("routing") or {}, strategy.get("experts") or {}
    if routing.get("kind") in ("power_law", "table") or routing.get("table"):
        kept = {"kind": "balanced", "capacity": routing.get("capacity")}
        said = ", ".join(f"{key}: {value}" for key, value in kept.items() if value is not None)
        yield (f"workload.routing={{{said}}}",)
    layout = now.get("layout", "tokens")
    yield from (_spread(now, layout=way) for way in LAYOUTS if way != layout)
    if layout == "ring":
        yield _spread(now, slots=2 * now["slots"])
        yield _spread(now, shards="columns" if now["shards"] == "experts" else "experts")
    elif layout == "tokens":  # rows of some experts travel while others multiply
        yield _spread(now, pieces=2)
    ways = (way for way in get_args(AtOnce) if way != now.get("overlap"))
    yield from (_spread(now, overlap=way) for way in ways)


def _spread(now: Mapping[str, Any], **changes: Any) -> tuple[str, ...]:
    """Return changes of options of experts, which may not be stated yet."""
    if now:
        return tuple(f"strategy.experts.{key}={value}" for key, value in changes.items())
    said = ", ".join(f"{key}: {value}" for key, value in changes.items())
    return (f"strategy.experts={{{said}}}",)
