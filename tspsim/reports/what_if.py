"""What-if on stdout: what other constants of the hardware, and other settings, would give."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.explain.constants import Constant
from tspsim.explain.explanation import WhatIf
from tspsim.explain.knee import NOTHING, Knee
from tspsim.explain.remedies import Remedy
from tspsim.explain.replay import Replayed
from tspsim.explain.whatif import FACTORS
from tspsim.output.units import share, size, time
from tspsim.reports.comparison import ALIKE
from tspsim.reports.rows import Row, table
from tspsim.topology.whole_steps import COVERAGE

#: A change of the step time below this share is none.
STILL = 5e-5

#: What people call the constants.
NAMES = {
    "flop_rate": "flop rate", "memory_bandwidth": "memory bandwidth", "launch": "launch overhead",
    "host": "host time a layer",
    "link_bandwidth": "link bandwidth", "link_latency": "link latency",
    "network_bandwidth": "network bandwidth", "network_latency": "network latency",
    "call_latency": "latency of a collective call", "memory": "memory size",
}  # fmt: skip


def gains(found: WhatIf) -> list[str]:
    """Return what doubling the rates gives, the three that give most."""
    texts: dict[str, str] = {}
    for each in found.sensitivities:
        name = NAMES[each.constant.key.partition(":")[0]]
        if each.constant.unit in ("flop/s", "B/s") and name not in texts:
            texts[name] = f"twice the {name} gives {_speedup(found, each.at(2.0).step_time)}"
    return list(texts.values())[:3]


def _speedup(found: WhatIf, after: float, digits: int = 2) -> str:
    """Return how many times as fast a changed step is, and between which bounds that lies."""
    if not after:
        return "all"
    return f"{found.base.step_time / after:.{digits}f}x{_sure(found, after)}"


def _sure(found: WhatIf, after: float) -> str:
    known = found.apart(after)
    if known is None:
        return ""
    if known.draw:
        return " (a draw)"
    return f" ({100 * COVERAGE:.0f} %: {known.low:.2f} to {known.high:.2f})"


def what_if(found: WhatIf) -> Iterable[RenderableType]:
    """Yield the table of constants, then what they do to the memory, and the links' knee."""
    made = Table.grid(padding=(0, 2))
    made.add_column(width=30, no_wrap=True, overflow="ellipsis")
    for width in (13, 9, 9, 9):
        made.add_column(width=width, justify="right", no_wrap=True)
    factors = [_factor(factor) for factor in FACTORS]
    made.add_row(Text("what if: step time changes by", "bold"), "is now", *factors)
    for each in found.sensitivities:
        if each.constant.key != "memory":
            changes = (_change(found, o.step_time) for _, o in each.replays)
            made.add_row(
                f"  {constant_name(each.constant)}", constant_value(each.constant), *changes
            )
    yield made
    yield Text(f"  {_told_apart(found)}")
    if found.left_out:
        yield Text(f"  {found.left_out} more classes of links, less busy ones, stay as they are")
    yield Text(f"  {_peaks(found)}")
    yield Text(f"  {_size(found)}")
    if found.knee is not None:
        yield Text(f"  {_knee(found, found.knee)}")


def _factor(factor: float) -> str:
    return f"x {factor:g}" if factor >= 2 else f"{100 * (factor - 1):+.0f} %".replace("-", "−")


def _change(found: WhatIf, after: float) -> str:
    """Return a change of the step time, with a mark where it is less than its error."""
    before, known = found.base.step_time, found.apart(after)
    change = after / before - 1 if before else 0.0
    if abs(change) < STILL:
        return "="
    mark = ALIKE if known is not None and known.draw else ""
    return f"{mark}{100 * change:+.2f} %".replace("-", "−")


def _told_apart(found: WhatIf) -> str:
    """Return how far the changes may be off, and what the mark says."""
    known = found.apart(found.base.step_time)
    if known is None:
        return "how far these changes may be off is unknown"
    return (
        f"each is off by a factor of {1 + known.least:.3f} at most ({100 * COVERAGE:.0f} %); "
        f"{ALIKE} changes by less: a draw"
    )


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
    peaks = [o.peak for s in found.sensitivities for _, o in s.replays]
    low, high = min(peaks, default=found.base.peak), max(peaks, default=found.base.peak)
    if low == high:
        return f"peak memory stays {size(found.base.peak)} in all of these"
    return f"peak memory is {size(low)} to {size(high)} in these (now {size(found.base.peak)})"


def _size(found: WhatIf) -> str:
    """Return what the memory's size does: nothing to the time, but what fits."""
    memory = next(s for s in found.sensitivities if s.constant.key == "memory")
    texts = {_factor(f): "fits" if o.headroom >= 0 else "too small" for f, o in memory.replays}
    held = ", ".join(f"{factor}: {text}" for factor, text in texts.items())
    return f"memory size changes no time; {held}"


def _knee(found: WhatIf, knee: Knee) -> str:
    gain = f"endlessly fast ones would give {_speedup(found, knee.limit, 3)}"
    if knee.bandwidth is None:
        extreme = "even a thousand times slower" if knee.gain < 1 + NOTHING else "however fast"
        return f"links {knee.constant.on}: no knee, {extreme}; {gain}"
    return (
        f"links {knee.constant.on}: beyond {rate(knee.bandwidth)}, less than "
        f"{100 * NOTHING:.0f} % is left to gain;\n  they have {rate(knee.constant.value)}, {gain}"
    )


def remedies(found: WhatIf) -> Iterable[RenderableType]:
    """Yield what lowers the peak most and what is quickest, then all that was tried."""
    base, better = found.base, [r for r in found.remedies if r.replayed.peak < found.base.peak]
    if better:
        best = better[0]
        yield Text(f"  lowers it most: {_given(found, best)}{_fitting(best, base)}", "bold")
    else:
        yield Text("  no other setting of this scenario lowers the peak", "bold")
    yield from _quickest(found)
    if not found.remedies:
        return
    rows: list[Row] = [("  tried: setting", "peak", "", "step time")]
    for each in found.remedies:
        peak, replayed = share(each.replayed.peak, base.peak), each.replayed
        change = _change(found, replayed.step_time)
        rows.append((f"    {_said(each)}", size(replayed.peak), peak, change))
    yield table(rows)


def _quickest(found: WhatIf) -> Iterable[RenderableType]:
    """Yield the change that makes a step quicker than any other that fits, if one does."""
    fitting = [remedy for remedy in found.remedies if remedy.replayed.headroom >= 0]
    best = min(fitting, key=lambda remedy: remedy.replayed.step_time, default=None)
    if best and best.replayed.step_time < found.base.step_time * (1 - STILL):
        yield Text(f"  quickest that fits: {_given(found, best)}", "bold")


def _given(found: WhatIf, remedy: Remedy) -> str:
    """Return a change with the peak and the step time that it gives."""
    peak, change = size(remedy.replayed.peak), _change(found, remedy.replayed.step_time)
    return f"{_said(remedy)}: {peak}, step time {change}"


def spreads(found: WhatIf) -> Iterable[RenderableType]:
    """Yield what other ways for experts and tokens give, the shortest step first."""
    if not found.experts:
        return
    rows: list[Row] = [("  tried: setting", "peak", "", "step time")]
    for each in found.experts:
        peak = share(each.replayed.peak, found.base.peak)
        change = _change(found, each.replayed.step_time)
        rows.append((f"    {_said(each)}", size(each.replayed.peak), peak, change))
    yield table(rows)


def _fitting(remedy: Remedy, base: Replayed) -> str:
    """Return whether a change makes a step fit that does not fit as it is."""
    if base.headroom >= 0:
        return ""
    return "; fits" if remedy.replayed.headroom >= 0 else "; still too much"


def _said(remedy: Remedy) -> str:
    return " ".join(remedy.overrides)
