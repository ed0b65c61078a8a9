"""What the numbers of a report rest on, what is not modelled, and with what they were made."""

from __future__ import annotations

from typing import Any

from tspsim.files.between import rests_on
from tspsim.reports.html.sources import Subject
from tspsim.result import Result
from tspsim.scenario.types import Scenario
from tspsim.sweeps.store import Store

#: What a reader should know before trusting a step time; docs/accuracy.md has it in full.
NOT_MODELLED = (
    "Packets, congestion control and protocol overhead: a transfer is a fluid that shares links "
    "fairly, on one route per pair of devices.",
    "Allocators: fragmentation, rounding and caching. A buffer counts its bytes from its first "
    "write to its last read.",
    "The arithmetic of the optimizer: only its memory traffic is timed.",
    "What slows down compute while communication runs, unless the profile says how much.",
)


def assumptions(subject: Subject) -> list[str]:
    """Return what the numbers rest on, one sentence each."""
    return list(dict.fromkeys(text for _, result in _runs(subject) for text in _of_run(result)))


def _runs(subject: Subject) -> list[tuple[str, Result]]:
    """Return all runs that a report is about, with their names; of a sweep those drawn."""
    if subject.compared:
        return [(each.name, each.done) for each in subject.compared]
    return [(drawn.name, drawn.result) for drawn in subject.drawn]


def _of_run(result: Result) -> list[str]:
    scenario, profile = result.scenario, result.summary.profile
    basis = rests_on(result.summary.to_dict()["interval"])
    told = f"Times come from the profile '{profile.name}': {basis}."
    if profile.name == "datasheet":
        told += (
            " It takes every op at the peak rate that the vendor states: step times are optimistic,"
            " comparisons as good as the assumption that efficiencies are alike on both sides."
        )
    return [told, _network(scenario), *_more(result)]


def _network(scenario: Scenario) -> str:
    played = {"coflow": "as one flow behind its latency", "steps": "send by send"}
    shared = {"fair": "max-min fairly", "fifo": "first come, first served"}
    algorithm = "the fastest algorithm" if scenario.algorithm == "auto" else scenario.algorithm
    return (
        f"A collective runs with {algorithm}, {played[scenario.detail]}; transfers share links "
        f"{shared[scenario.sharing]}."
    )


def _more(result: Result) -> list[str]:
    found = []
    if disturbed := result.scenario.disturbances.text():
        found.append(f"Disturbed: {disturbed}.")
    else:
        found.append("All devices are as fast as they should be, and nothing is random.")
    if result.timeline.fold is not None and len(result.timeline.played) < result.summary.ranks:
        found.append(
            f"Ranks that were simulated: {len(result.timeline.played)} of {result.summary.ranks}; "
            "the others provably behave as one of these does."
        )
    return found


def provenance(subject: Subject) -> list[dict[str, Any]]:
    """Return for every run: versions, the hash of its scenario, and how to run it again."""
    return [
        {
            "name": name,
            "tspsim": result.provenance.tspsim,
            "python": result.provenance.python,
            "packages": ", ".join(f"{package} {v}" for package, v in result.provenance.packages),
            "hash": result.provenance.document,
            "document": result.scenario.document,
        }
        for name, result in _runs(subject)
    ]


def study(store: Store) -> dict[str, Any]:
    """Return a sweep's study as a study file has it: ``tspsim sweep`` takes it."""
    told = store.about()["study"]
    kept = {key: value for key, value in told.items() if value}
    if sample := told["samples"]:
        kept["samples"] = dict(zip(("method", "count", "seed"), sample, strict=True))
    return kept
