"""The table on stdout: how long a step takes, where the time goes, what fills the memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.files.between import rests_on, within
from tspsim.files.numbers import plain
from tspsim.memory import alive
from tspsim.output.casts import casts
from tspsim.output.fitting import would_fit
from tspsim.output.next_step import next_step
from tspsim.output.units import share, size, time, time_unit
from tspsim.requests import Step

if TYPE_CHECKING:
    from tspsim.result import Result

#: Widths of the first and the last column: all columns together stay below 80.
NAME, BAR = 23, 27
#: Kinds and buffers listed under a model that does not fit.
LISTED = 6
#: A load this many times the mean is as even as whole numbers of tokens can be.
EVEN = 1.005
#: A smaller share of the cache that no token has is not worth a row.
SPARE = 5e-4
#: Whose tokens a rate counts.
_ALL = "of all replicas"
#: Stages of a pipeline whose peaks are listed.
STAGES = 8


def render(result: Result) -> RenderableType:
    """Return the table of a result, at most 80 columns wide.

    Everything but what is alive at the peak comes from the summary, the dictionary of ``--json``.
    """
    figures = result.summary.to_dict()
    return Group(
        _title(result, figures),
        *_inference(figures),
        _rows(_time(figures)),
        *_runs(figures),
        Text(),
        _rows(_communication(figures)),
        Text(),
        *_memory(result, figures),
        Text(),
        *_folded(result),
        *(Text(told) for told in casts(result.scenario.workload)),
        _profile(result, figures),
    )


def _title(result: Result, figures: dict[str, Any]) -> RenderableType:
    strategy = figures["strategy"]
    axes = " x ".join(f"{axis} {degree}" for axis, degree in strategy["axes"].items())
    topology = result.scenario.topology
    devices = f"{len(topology.devices)} x {topology.devices[0].name} ({topology.name})"
    lines = Text(figures["scenario"], style="bold", overflow="fold")
    lines.append(f"\n{strategy['kind']}, mesh {axes}, on {devices}\n", style="not bold")
    if "inference" in figures and (requests := result.scenario.workload.requests):
        last = "the last step: " if _several(figures["inference"]) else ""
        lines.append(f"{last}{requests.text}\n", style="not bold")
    if disturbed := result.scenario.disturbances.text():
        lines.append(f"disturbed: {disturbed}\n", style="yellow")
    return lines


def _rows(rows: Iterable[tuple[str, ...]]) -> Table:
    """Return rows of name, value, share, bar; a row's name is bold unless it is indented."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=NAME)
    table.add_column(width=15, justify="right")
    table.add_column(width=7, justify="right")
    table.add_column(width=BAR, no_wrap=True, overflow="ellipsis")
    for name, *values in rows:
        table.add_row(Text(name, style="" if name.startswith(" ") else "bold"), *values)
    return table


def _bar(part: float, whole: float) -> str:
    """Return a bar with half-block resolution."""
    halves = round(2 * BAR * part / whole) if whole else 0
    return "━" * (halves // 2) + "╸" * (halves % 2)


def _time(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    step, parts = figures["step_time"], figures["time"]
    sure = within(figures["interval"], time_unit(step))
    names = {"compute": "compute", "exposed_communication": "exposed communication"}
    names |= {"host": "waiting for the host"} if "host" in parts else {}
    names |= {"idle": "idle"}
    rows: list[tuple[str, ...]] = [("step time", time(step), "", sure)]
    rows += [
        (f"  {name}", time(parts[key]), share(parts[key], step), _bar(parts[key], step))
        for key, name in names.items()
    ]
    per_device = f"{figures['tokens_per_second_per_device']:,.0f} per device"
    rows += [*_bubble(figures), *_experts(figures)]
    rows.append(("tokens/s", f"{figures['tokens_per_second']:,.0f}", "", per_device))
    mfu, hfu = _percent(figures["mfu"]), _percent(figures["hfu"])
    rows.append(("MFU / HFU", f"{mfu} / {hfu}", "", ""))
    return rows


def _inference(figures: dict[str, Any]) -> list[RenderableType]:
    """Return what a user of the model sees, in front of the figures of the last step."""
    if "inference" not in figures:
        return []
    found = figures["inference"]
    rows: list[tuple[str, ...]] = []
    for key, name, stretch in (
        ("time_to_first_token", "time to first token", found["prefill"]),
        ("time_per_token", "time per token", found["decode"]),
    ):
        if stretch is not None:
            rows.append((name, time(found[key]), "", _stretch(stretch)))
    if found["prefill"] and found["decode"]:
        count = found["sequences"]
        told = f"{count:,} sequences" if count > 1 else "1 sequence"
        rows.append(("latency", time(found["latency"]), "", told))
    if found["output_tokens_per_second"] is not None:
        rows.append(("output tokens/s", _rate(found["output_tokens_per_second"]), "", _ALL))
    rows += _cache(found["cache"])
    last = Text("of which the last step:", style="dim")
    return [_rows(rows), Text(), last] if _several(found) else [_rows(rows), Text()]


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else plain(rate, 2)


def _cache(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return what the cache takes, and what of it no token has."""
    rows: list[tuple[str, ...]] = [
        ("cache of a rank", size(found["bytes"]), "", f"{found['tokens']:,} tokens")
    ]
    if found["spare"] > SPARE:
        spare = found["spare"] * found["bytes"]
        rows.append(("  spare", size(spare), share(found["spare"], 1), "padding, ends of pages"))
    return rows


def _several(found: dict[str, Any]) -> bool:
    steps = [part["steps"] for part in (found["prefill"], found["decode"]) if part]
    return steps != [1]


def _stretch(found: dict[str, Any]) -> str:
    """Return how many steps there are, how many were played, and how far others may be off."""
    if found["steps"] == 1:
        return "1 step"
    if found["played"] == found["steps"]:
        return f"{found['steps']:,} steps, all played"
    within = max(found["within"], 1e-4)
    return f"{found['steps']:,} steps, {found['played']} played, ±{within:.2%}"


def _bubble(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return what a pipeline waits for micro-batches: a part of exposed communication and idle."""
    if "pipeline" not in figures:
        return []
    found, step = figures["pipeline"]["bubble"], figures["step_time"]
    most = f"at most {share(found['most'], step)}, on rank {found['most_rank']}"
    return [("bubble", time(found["mean"]), share(found["mean"], step), most)]


def _experts(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return how unevenly tokens load ranks and experts, and who has most of them."""
    if "experts" not in figures:
        return []
    found = figures["experts"]
    ranks, experts = found["ranks"], found["experts"]
    rows: list[tuple[str, ...]] = [
        ("expert imbalance", f"{ranks['mean']:.2f} x", "", "busiest rank over the mean")
    ]
    if ranks["most"] > EVEN:
        place = f"in layer {ranks['layer']}"
        rows.append((f"  most: rank {ranks['rank']}", f"{ranks['most']:.2f} x", "", place))
    if experts["most"] > EVEN:
        place = f"in layer {experts['layer']}: {experts['rows']:,} rows"
        rows.append((f"  most: expert {experts['expert']}", f"{experts['most']:.2f} x", "", place))
    if found["dropped"]:
        rows.append(("  dropped", "", share(found["dropped"], 1), "of tokens' choices"))
    return rows


def _runs(figures: dict[str, Any]) -> list[RenderableType]:
    """Return how the step time spreads over runs, where there are several."""
    found = figures.get("runs")
    if found is None or found["count"] == 1:
        return []
    times, (low, high) = found["step_time"], found["step_time"]["confidence_95"]
    names = {"min": "min", "median": "median", "p95": "95th percentile", "max": "max"}
    mean = (
        f"{found['count']} runs, mean",
        time(times["mean"]),
        "",
        f"95 %: {time(low)} to {time(high)}",
    )
    deviation = ("  standard deviation", time(times["standard_deviation"]), "", "")
    rows = [
        mean,
        deviation,
        *((f"  {name}", time(times[key]), "", "") for key, name in names.items()),
    ]
    return [Text(), _rows(rows)]


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{100 * fraction:.1f} %"


def _communication(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    found = figures["communication"]
    total = found["received_bytes_per_rank"]
    rows: list[tuple[str, ...]] = [("communication", size(total), "", "received per rank and step")]
    by_op = sorted(found["by_op"].items(), key=lambda item: -item[1])
    rows += [
        (f"  {op}", size(b), share(b, total), _algorithms(found["algorithms"][_SENT.get(op, op)]))
        for op, b in by_op
        if b
    ]
    return rows


#: What is received was carried as what was sent.
_SENT = {"receive": "send"}


def _algorithms(names: Sequence[str]) -> str:
    """Return what carried a collective, as many names as there is room for."""
    text = ", ".join(names)
    return text if len(text) <= BAR else f"{names[0]} +{len(names) - 1}"


def _memory(result: Result, figures: dict[str, Any]) -> list[RenderableType]:
    found = figures["memory"]
    peak, capacity = found["peak"], found["capacity"]
    left = capacity - peak
    rows = [("peak memory", size(peak), share(peak, capacity), f"of {size(capacity)} capacity")]
    rows += [(f"  {kind}", size(b), share(b, peak), _bar(b, peak)) for kind, b in _fill(found)]
    rows += [*_states(figures), *_stages(figures)]
    place = f"; the peak is on rank {found['peak_rank']} at {time(found['peak_time'])}"
    elsewhere = _elsewhere(result, figures)
    place += f"\n  of {elsewhere}" if elsewhere else ""
    if found["fits"]:
        return [_rows(rows), Text(f"  fits, {size(left)} to spare", style="green").append(place)]
    verdict = Text(f"  DOES NOT FIT: {size(-left)} too much", style="bold red").append(place)
    parts: list[RenderableType] = [_rows(rows), verdict]
    if told := would_fit(figures):
        parts.append(Text(f"  {told}", style="bold"))
    parts.append(Text(f"  next: {next_step(result)}"))
    if not elsewhere:  # what is alive is known of the step that is shown
        parts.append(Text("  largest at the peak:", style="bold"))
        parts.append(_rows(_largest(result, found)))
    return parts


def _elsewhere(result: Result, figures: dict[str, Any]) -> str:
    """Return in which of several steps memory is fullest, where that is not the last one."""
    if "inference" not in figures:
        return ""
    series, fullest = result.scenario.workload.series, Step(**figures["inference"]["fullest"])
    assert series is not None
    if series.of(fullest) == series.last:
        return ""
    kind = "the prompts" if fullest.phase == "prefill" else "those that decode"
    return f"step {fullest.number + 1:,} of {kind}"


def _states(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return what of the peak are weights, gradients and optimizer states of experts."""
    if "experts" not in figures:
        return []
    states, peak = sum(figures["experts"]["memory"].values()), figures["memory"]["peak"]
    return [("of it, experts' states", size(states), share(states, peak), _bar(states, peak))]


def _stages(figures: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the peaks of a pipeline's stages; of many the highest ones, in the stages' order."""
    found = figures["pipeline"]["memory_per_stage"] if "pipeline" in figures else []
    places = sorted(range(len(found)), key=lambda place: -found[place]["peak"])[:STAGES]
    left = f"the fullest {STAGES} of {len(found)}" if len(found) > STAGES else ""
    rows = [("by stage", "", "", left)] if found else []
    most = max((stage["peak"] for stage in found), default=0)
    for place in sorted(places):
        peak = found[place]["peak"]
        rows.append((f"  pp {place}", size(peak), share(peak, most), _bar(peak, most)))
    return rows


def _fill(found: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the kinds that are alive at the peak, largest first."""
    kinds = [(kind, b) for kind, b in found["at_peak"].items() if b]
    return sorted(kinds, key=lambda item: -item[1])


def _largest(result: Result, found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the buffers that fill the memory at the peak, those of one name together."""
    buffers = alive(result.timeline, found["peak_rank"], found["peak_time"])
    named = sorted(buffers, key=lambda buffer: (buffer.name, buffer.kind))
    groups = [list(group) for _, group in groupby(named, key=lambda b: (b.name, b.kind))]
    groups.sort(key=lambda group: -sum(buffer.bytes for buffer in group))
    rows: list[tuple[str, ...]] = []
    for group in groups[:LISTED]:
        total = sum(buffer.bytes for buffer in group)
        count = f"{len(group)} x {size(group[0].bytes)}, {group[0].kind}"
        rows.append((f"    {group[0].name}", size(total), share(total, found["peak"]), count))
    return rows


def _folded(result: Result) -> list[RenderableType]:
    """Say which ranks stand for others."""
    timeline = result.timeline
    if len(timeline.played) == timeline.mesh.ranks:
        return []
    axes = ", ".join(result.summary.engine.folded)
    said = f"{len(timeline.played)} of {timeline.mesh.ranks:,} ranks simulated"
    return [Text(f"{said}: along {axes} the others are like them", style="dim")]


def _profile(result: Result, figures: dict[str, Any]) -> Text:
    profile, said = figures["profile"], rests_on(figures["interval"])
    stated = figures["communication"]["as_stated"]
    if stated and result.scenario.topology.profile.protocols:
        said += "".join(f"\n  {call}: links as stated, nothing was fitted" for call in stated)
    return Text(f"times from profile {profile['name']}: {said}", style="dim")
