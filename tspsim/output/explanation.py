"""An explanation on stdout: the answer in a sentence, then where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.explain.constants import Constant
from tspsim.explain.explanation import Explanation, WhatIf
from tspsim.explain.fill import OUTSIDE, layer_name
from tspsim.explain.knee import NOTHING, Knee
from tspsim.explain.remedies import Remedy
from tspsim.explain.replay import Outcome
from tspsim.explain.whatif import FACTORS, Sensitivity
from tspsim.output.units import share, size, time

#: Widths of the first and the last column: all columns together stay below 80.
NAME, BAR = 38, 14
#: Lines of a part of the table, at most; the rest is added up.
LISTED = 6
#: A change of the step time below this share is none.
STILL = 5e-5

#: What people call the constants.
NAMES = {
    "flop_rate": "flop rate", "memory_bandwidth": "memory bandwidth", "launch": "launch overhead",
    "link_bandwidth": "link bandwidth", "link_latency": "link latency",
    "network_bandwidth": "network bandwidth", "network_latency": "network latency",
    "call_latency": "latency of a collective call", "memory": "memory size",
}  # fmt: skip

Row = tuple[str, str, str, str]


def render(explanation: Explanation) -> RenderableType:
    """Return the explanation as text and tables, at most 80 columns wide."""
    parts: list[RenderableType] = [
        Text(f"{sentence(explanation)}\n", "bold"),
        *_path(explanation),
        *_exposed(explanation),
    ]
    found = explanation.what_if
    if found is not None:
        parts += [Text(), *_what_if(found)]
    parts += [Text(), *_memory(explanation)]
    if found is not None:
        parts += _remedies(found)
    name = explanation.result.scenario.name
    parts.append(Text(f"\n{name}: rates of all ops: tspsim plot DIR --kind roofline", "dim"))
    return Group(*parts)


def sentence(explanation: Explanation) -> str:
    """Return the answer: how long, what limits it, and what twice of it would give."""
    step = explanation.path.total
    if not explanation.bottlenecks:
        return "0 s: nothing in this step takes time."
    shares = ", ".join(
        f"{share(b.seconds, step)} {b.resource}" for b in explanation.bottlenecks[:3]
    )
    first = explanation.bottlenecks[0].resource
    text = f"{time(step)}: {shares}. The bottleneck is {first}"
    found = explanation.what_if
    gains = [] if found is None else _gains(found)
    text = f"{text}: {', '.join(gains)}." if gains else f"{text}."
    figures = explanation.memory.figures
    if not figures.fits:
        text += f" DOES NOT FIT: {size(figures.peak - figures.capacity)} too much."
    return text


def _gains(found: WhatIf) -> list[str]:
    """Return what doubling the rates gives, the three that give most."""
    texts: dict[str, str] = {}
    for each in found.sensitivities:
        name = NAMES[each.constant.key.partition(":")[0]]
        if each.constant.unit in ("flop/s", "B/s") and name not in texts:
            texts[name] = f"twice the {name} gives {_speedup(each, found.base)}"
    return list(texts.values())[:3]


def _speedup(found: Sensitivity, base: Outcome) -> str:
    after = found.at(2.0).step_time
    return f"{base.step_time / after:.2f}x" if after else "all"


# ---- the path ------------------------------------------------------------------------------------


def _path(explanation: Explanation) -> Iterable[RenderableType]:
    path, step = explanation.path, explanation.path.total
    rows: list[Row] = [("critical path", time(step), "", "limited by")]
    rows += _bars({b.resource: b.seconds for b in explanation.bottlenecks}, step)
    rows.append(("  of which in ops", "", "", ""))
    rows += _bars(path.by(lambda piece: f"  {piece.op.kind.name}"), step)
    rows.append(("  and in phases", "", "", ""))
    rows += _bars(path.by(lambda piece: f"  {piece.op.phase}"), step)
    yield _rows(rows)
    yield Text(f"  {_layers(path.by(lambda piece: layer_name(piece.op.layer)))}")
    edges = ", ".join(f"{count:,} {edge}" for edge, count in path.edges().items())
    yield Text(f"  {len(path.pieces):,} stretches, tied by: {edges or 'nothing'}")


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
    rows += _bars(named, step, total)
    yield Text()
    yield _rows(rows)


# ---- what if -------------------------------------------------------------------------------------


def _what_if(found: WhatIf) -> Iterable[RenderableType]:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=30, no_wrap=True, overflow="ellipsis")
    for width in (14, 8, 8, 8):
        table.add_column(width=width, justify="right", no_wrap=True)
    factors = [_factor(factor) for factor in FACTORS]
    table.add_row(Text("what if: step time changes by", "bold"), "is now", *factors)
    for each in found.sensitivities:
        if each.constant.key != "memory":
            changes = (_change(o.step_time, found.base.step_time) for _, o in each.outcomes)
            table.add_row(
                f"  {constant_name(each.constant)}", constant_value(each.constant), *changes
            )
    yield table
    if found.left_out:
        yield Text(f"  {found.left_out} more classes of links, less busy ones, stay as they are")
    yield Text(f"  {_peaks(found)}")
    yield Text(f"  {_size(found)}")
    if found.knee is not None:
        yield Text(f"  {_knee(found.knee)}")


def _factor(factor: float) -> str:
    return f"x {factor:g}" if factor >= 2 else f"{100 * (factor - 1):+.0f} %".replace("-", "−")


def _change(after: float, before: float) -> str:
    change = after / before - 1 if before else 0.0
    return "=" if abs(change) < STILL else f"{100 * change:+.2f} %".replace("-", "−")


def constant_name(constant: Constant) -> str:
    """Return what people call a constant, with its links where there are several classes."""
    name = NAMES[constant.key.partition(":")[0]]
    return f"{name} {constant.on}" if ":" in constant.key else name


def constant_value(constant: Constant) -> str:
    """Return the value of a constant with its unit."""
    value = constant.value
    if constant.unit == "flop/s":
        return f"{value / 1e12:,.0f} Tflop/s" if value >= 1e12 else f"{value:,.3g} flop/s"
    if constant.unit == "B/s":
        return rate(value)
    return time(value) if constant.unit == "s" else size(value)


def rate(value: float) -> str:
    """Return bytes per second as for example ``"64 GB/s"``."""
    for scale, name in ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s")):
        if value >= scale:
            return f"{value / scale:,.3g} {name}"
    return f"{value:,.3g} B/s"


def _peaks(found: WhatIf) -> str:
    """Return what the constants do to the peak memory."""
    peaks = [o.peak for s in found.sensitivities for _, o in s.outcomes]
    low, high = min(peaks, default=found.base.peak), max(peaks, default=found.base.peak)
    if low == high:
        return f"peak memory stays {size(found.base.peak)} in all of these"
    return f"peak memory is {size(low)} to {size(high)} in these (now {size(found.base.peak)})"


def _size(found: WhatIf) -> str:
    """Return what the memory's size does: nothing to the time, but what fits."""
    memory = next(s for s in found.sensitivities if s.constant.key == "memory")
    texts = {_factor(f): "fits" if o.headroom >= 0 else "too small" for f, o in memory.outcomes}
    held = ", ".join(f"{factor}: {text}" for factor, text in texts.items())
    return f"memory size changes no time; {held}"


def _knee(knee: Knee) -> str:
    gain = f"endlessly fast ones would give {knee.gain:.3f}x"
    if knee.bandwidth is None:
        extreme = "even a thousand times slower" if knee.gain < 1 + NOTHING else "however fast"
        return f"links {knee.constant.on}: no knee, {extreme}; {gain}"
    return (
        f"links {knee.constant.on}: beyond {rate(knee.bandwidth)}, less than "
        f"{100 * NOTHING:.0f} % is left to gain\n  (they have {rate(knee.constant.value)}; {gain})"
    )


# ---- memory --------------------------------------------------------------------------------------


def _memory(explanation: Explanation) -> Iterable[RenderableType]:
    found, figures = explanation.memory, explanation.memory.figures
    peak = figures.peak
    place = f"of {size(figures.capacity)}"
    rows: list[Row] = [("peak memory", size(peak), share(peak, figures.capacity), place)]
    rows += _bars(_sorted(figures.at_peak), peak, form=size)
    rows.append(("  of which in buffers", "", "", ""))
    buffers = {f"  {h.number} x {h.name}, {h.kind}": float(h.bytes) for h in found.buffers}
    rows += _bars(buffers, peak, form=size)
    yield _rows(rows)
    inside = {name: b for name, b in found.by_layer.items() if name != OUTSIDE}
    if inside:
        most = max(inside, key=inside.__getitem__)
        outside = size(found.by_layer.get(OUTSIDE, 0))
        text = f"{_count(inside)}: at most {size(inside[most])} (layer {most})"
        yield Text(f"  {text}; {OUTSIDE}: {outside}")


def _remedies(found: WhatIf) -> Iterable[RenderableType]:
    """Yield the change that lowers the peak most in a sentence, and all of them."""
    base, better = found.base, [r for r in found.remedies if r.outcome.peak < found.base.peak]
    if not better:
        yield Text("  no other setting of this scenario lowers the peak", "bold")
        return
    best = better[0]
    yield Text(
        f"  lowers it most: {_said(best)}: {size(best.outcome.peak)}, "
        f"step time {_change(best.outcome.step_time, base.step_time)}{_fitting(best, base)}",
        "bold",
    )
    rows: list[Row] = [("  tried: setting", "peak", "", "step time")]
    for each in found.remedies:
        peak, outcome = share(each.outcome.peak, base.peak), each.outcome
        change = _change(outcome.step_time, base.step_time)
        rows.append((f"    {_said(each)}", size(outcome.peak), peak, change))
    yield _rows(rows)


def _fitting(remedy: Remedy, base: Outcome) -> str:
    """Return whether a change makes a step fit that does not fit as it is."""
    if base.headroom >= 0:
        return ""
    return "; fits" if remedy.outcome.headroom >= 0 else "; still too much"


def _said(remedy: Remedy) -> str:
    return " ".join(remedy.overrides)


def _sorted(found: Mapping[str, float]) -> dict[str, float]:
    kinds = ((kind, amount) for kind, amount in found.items() if amount)
    return dict(sorted(kinds, key=lambda item: -item[1]))


# ---- rows ----------------------------------------------------------------------------------------


def _bars(
    found: Mapping[str, float], whole: float, longest: float | None = None, form: Any = time
) -> list[Row]:
    """Return a row per name, indented, with its share and a bar; small ones are added up."""
    items = list(found.items())
    shown, rest = (
        (items, []) if len(items) <= LISTED else (items[: LISTED - 1], items[LISTED - 1 :])
    )
    rows = [
        (f"  {name}", form(amount), share(amount, whole), _bar(amount, longest or whole))
        for name, amount in shown
    ]
    if rest:
        amount = sum(amount for _, amount in rest)
        deeper = "  " if shown[0][0].startswith("  ") else ""
        name = f"  {deeper}{len(rest)} others"
        rows.append((name, form(amount), share(amount, whole), _bar(amount, longest or whole)))
    return rows


def _bar(part: float, whole: float) -> str:
    halves = round(2 * BAR * part / whole) if whole else 0
    return "━" * (halves // 2) + "╸" * (halves % 2)


def _rows(rows: Iterable[Row]) -> Table:
    """Return rows of name, value, share, bar; a row's name is bold unless it is indented."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=NAME, no_wrap=True, overflow="ellipsis")
    table.add_column(width=12, justify="right", no_wrap=True)
    table.add_column(width=8, justify="right", no_wrap=True)
    table.add_column(width=BAR, no_wrap=True, overflow="ellipsis")
    for name, *values in rows:
        table.add_row(Text(name, style="" if name.startswith(" ") else "bold"), *values)
    return table
