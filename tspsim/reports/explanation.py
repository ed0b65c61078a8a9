"""An explanation on stdout: the answer in a sentence, then where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tspsim.explain.explanation import Explanation
from tspsim.explain.fill import OUTSIDE, layer_name
from tspsim.explain.why import SAID
from tspsim.files.between import rests_on
from tspsim.output.fitting import would_fit
from tspsim.output.next_step import next_step
from tspsim.output.units import as_in_table, share, size, time
from tspsim.reports import inference_explanation as inference
from tspsim.reports.rows import NAME, Row, bars, table
from tspsim.reports.what_if import gains, remedies, spreads, what_if


def render(explanation: Explanation) -> RenderableType:
    """Return the explanation as text and tables, at most 80 columns wide."""
    parts: list[RenderableType] = [
        Text(f"{sentence(explanation)}\n", "bold"),
        *_why(explanation),
        *_path(explanation),
        *inference.read(explanation),
        *_host(explanation),
        *_exposed(explanation),
        *_bubble(explanation),
        *_experts(explanation),
    ]
    found = explanation.what_if
    if found is not None:
        parts += [*spreads(found), Text(), *what_if(found)]
    parts += [Text(), *_memory(explanation)]
    parts += inference.beside(explanation)
    if found is not None:
        parts += inference.settings(found) if explanation.reading else remedies(found)
    parts += _next(explanation)
    name, profile = explanation.result.scenario.name, explanation.result.summary.profile.name
    parts.append(Text(f"\ntimes from profile {profile}: {rests_on(_interval(explanation))}", "dim"))
    parts.append(Text(f"{name}: rates of all ops: tspsim plot DIR --kind roofline", "dim"))
    return Group(*parts)


def _next(explanation: Explanation) -> Iterable[RenderableType]:
    """Say what helps a step that does not fit, unless a setting that was tried does."""
    found = explanation.what_if
    tried = (*found.remedies, *found.inference) if found else ()
    if not explanation.result.fits and all(each.replayed.headroom < 0 for each in tried):
        yield Text(f"  next: {next_step(explanation.result)}", "bold")


def sentence(explanation: Explanation) -> str:
    """Return the answer: how long, what limits it, and what twice of it would give."""
    step, interval = explanation.path.total, _interval(explanation)
    if not explanation.bottlenecks:
        return "0 s: nothing in this step takes time."
    parts = inference.parts(explanation) or list(explanation.bottlenecks[:3])
    shares = ", ".join(f"{share(seconds, step)} {name}" for name, seconds in parts)
    first = explanation.bottlenecks[0].resource
    text = f"{inference.which(explanation)}{as_in_table(step, interval)}: {shares}"
    text += f". The bottleneck is {first}"
    found = explanation.what_if
    doubled = [] if found is None else gains(found)
    text = f"{text}: {', '.join(doubled)}." if doubled else f"{text}."
    figures = explanation.result.summary.memory
    if not figures.fits:
        told = would_fit(explanation.result.summary.to_dict())
        text += f" DOES NOT FIT: {size(figures.peak - figures.capacity)} too much"
        text += f"; {told}." if told else "."
    return text


def _interval(explanation: Explanation) -> dict[str, Any] | None:
    """Return where the step time lies, as in ``--json``."""
    found: dict[str, Any] | None = explanation.result.summary.to_dict()["interval"]
    return found


# ---- from the ideal step to this one -------------------------------------------------------------


def _why(explanation: Explanation) -> Iterable[RenderableType]:
    found, step = explanation.why, explanation.path.total
    mean = "mean of ranks" if found.ranks > 1 else ""
    rows: list[Row] = [("from the ideal step to this one", time(step), share(step, step), mean)]
    for group, parts in found.groups.items():
        if len(parts) == 1 and len(parts[0].said) <= NAME - 2:
            rows += bars({parts[0].said: parts[0].seconds}, step)
            continue
        rows += bars({SAID[group]: fsum(part.seconds for part in parts)}, step)
        rows += bars({f"  {part.name}": part.seconds for part in parts}, step)
    yield table(rows)
    yield Text()


# ---- the path ------------------------------------------------------------------------------------


def _path(explanation: Explanation) -> Iterable[RenderableType]:
    path, step = explanation.path, explanation.path.total
    rows: list[Row] = [("critical path", time(step), "", "limited by")]
    rows += bars({b.resource: b.seconds for b in explanation.bottlenecks}, step)
    rows.append(("  of which in ops", "", "", ""))
    rows += bars(path.by(lambda piece: f"  {piece.op.kind.name}"), step)
    rows.append(("  and in phases", "", "", ""))
    rows += bars(path.by(lambda piece: f"  {piece.op.phase}"), step)
    yield table(rows)
    yield Text(f"  {_layers(path.by(lambda piece: layer_name(piece.op.layer)))}")
    edges = ", ".join(f"{count:,} {edge}" for edge, count in path.edges().items())
    yield Text(f"  {len(path.pieces):,} stretches, tied by: {edges or 'nothing'}")


def _host(explanation: Explanation) -> Iterable[RenderableType]:
    """Say what compute waits for its host, and what would give that less to issue."""
    result = explanation.result
    waits, kernels = result.summary.time.host, result.scenario.workload.kernels
    if waits:
        rank = result.timeline.slowest_rank
        yield Text(f"\ncompute of rank {rank} waits {time(waits)} for its host", "bold")
        yield Text(
            f"  kernels.host: {time(kernels.host)} for a layer's forward, "
            "twice that for its backward;\n"
            "  larger micro-batches, CUDA graphs or torch.compile leave it less to issue"
        )


def _layers(found: Mapping[str, float]) -> str:
    """Return the range of the layers' times, and what is outside of them."""
    inside = {name: seconds for name, seconds in found.items() if name != OUTSIDE}
    if not inside:
        return f"{OUTSIDE}: all"
    most, least = max(inside, key=inside.__getitem__), min(inside, key=inside.__getitem__)
    text = f"{_count(inside)}: {time(inside[least])} (layer {least})"
    text += f" to {time(inside[most])} (layer {most})" if most != least else ""
    return f"{text}; {OUTSIDE}: {time(found.get(OUTSIDE, 0.0))}"


def _count(layers: Mapping[str, float]) -> str:
    return "1 layer" if len(layers) == 1 else f"{len(layers)} layers"


def _exposed(explanation: Explanation) -> Iterable[RenderableType]:
    total = explanation.result.summary.time.exposed_communication
    rank = explanation.result.timeline.slowest_rank
    if not explanation.causes:
        yield Text(f"\nno communication of rank {rank} is exposed: compute never waits for it")
        return
    step = explanation.path.total
    rows: list[Row] = [("exposed communication", time(total), share(total, step), f"rank {rank}")]
    named = {f"{c.collective} {c.label}, {c.phase}": c.seconds for c in explanation.causes}
    rows += bars(named, step, total)
    yield Text()
    yield table(rows)
    yield from _as_stated(explanation)


def _bubble(explanation: Explanation) -> Iterable[RenderableType]:
    """Say for how long the rank that waits longest waits for micro-batches, and what for."""
    found, step = explanation.bubble, explanation.path.total
    if found is None:
        return
    total = found.bubble.seconds
    rows: list[Row] = [("pipeline bubble", time(total), share(total, step), f"rank {found.rank}")]
    rows += bars(found.named, step, total)
    yield Text()
    yield table(rows)
    options = explanation.result.scenario.strategy.pp
    if found.head_of_line and options is not None and options.streams == "rank":
        yield Text("  head-of-line blocking: less of it with strategy.pp.streams=pair")


def _experts(explanation: Explanation) -> Iterable[RenderableType]:
    """Say what experts take of the critical path, and what uneven loads add to it."""
    found, step = explanation.experts, explanation.path.total
    if found is None:
        return
    rows: list[Row] = [("experts", time(found.total), share(found.total, step), "of the path")]
    computed = {"their products": found.products, "rows weighed, sorted, added up": found.rows}
    rows += bars({**computed, **found.by_label}, step, found.total)
    yield Text()
    yield table(rows)
    excess = found.imbalance
    if excess is not None and excess.seconds > 0:
        yield Text(
            f"  imbalance: {time(excess.seconds)} ({share(excess.seconds, step)}) of it, beyond the"
            f" mean of ranks: {time(excess.compute)} computed,\n"
            f"  most on rank {excess.rank} in layer {excess.layer}; {time(excess.links)} on links"
        )


def _as_stated(explanation: Explanation) -> Iterable[RenderableType]:
    """Say which calls rest on no measurement, where the profile has measured others."""
    result = explanation.result
    if result.scenario.topology.profile.protocols:
        for call in result.summary.communication.as_stated:
            yield Text(f"  {call}: links as stated, nothing was fitted")


# ---- memory --------------------------------------------------------------------------------------


def _memory(explanation: Explanation) -> Iterable[RenderableType]:
    found, figures = explanation.memory, explanation.memory.figures
    peak = figures.peak
    place = f"of {size(figures.capacity)}"
    rows: list[Row] = [("peak memory", size(peak), share(peak, figures.capacity), place)]
    rows += bars(_sorted(figures.at_peak), peak, form=size)
    rows.append(("  of which in buffers", "", "", ""))
    buffers = {f"  {h.number} x {h.name}, {h.kind}": float(h.bytes) for h in found.buffers}
    rows += bars(buffers, peak, form=size)
    yield table(rows)
    inside = {name: b for name, b in found.by_layer.items() if name != OUTSIDE}
    if inside:
        most = max(inside, key=inside.__getitem__)
        outside = size(found.by_layer.get(OUTSIDE, 0))
        text = f"{_count(inside)}: at most {size(inside[most])} (layer {most})"
        yield Text(f"  {text}; {OUTSIDE}: {outside}")


def _sorted(found: Mapping[str, float]) -> dict[str, float]:
    kinds = ((kind, amount) for kind, amount in found.items() if amount)
    return dict(sorted(kinds, key=lambda item: -item[1]))
