"""What an explanation says of inference alone: what is read, and what other settings give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from tspsim.explain.explanation import Bottleneck, Explanation, WhatIf
from tspsim.explain.reading import SAID
from tspsim.explain.remedies import Remedy
from tspsim.output.units import share, size, time
from tspsim.reports.rows import Row, bar, table

#: Parts of a step that its sentence names.
NAMED = 4
#: A relative change below this is none.
STILL = 5e-5
#: The resource that reads.
MEMORY = "memory bandwidth"


def which(explanation: Explanation) -> str:
    """Return which of several steps is explained; nothing where there is one."""
    series = explanation.result.scenario.workload.series
    if series is None or series.prefills + series.decodes == 1:
        return ""
    kind = "that decode" if series.decodes else "of the prompts"
    count = series.decodes or series.prefills
    return f"The last of {count:,} steps {kind}, " if count > 1 else f"The one step {kind}, "


def parts(explanation: Explanation) -> list[Bottleneck]:
    """Return the largest parts of a step of inference: memory bandwidth by what it reads."""
    found = explanation.reading
    if found is None:
        return []
    named = [each for each in explanation.bottlenecks if each.resource != MEMORY]
    named += [Bottleneck(SAID[kind], seconds) for kind, seconds in found.seconds.items()]
    largest = sorted(named, key=lambda each: -each.seconds)
    return [each for each in largest[:NAMED] if each.seconds]


def read(explanation: Explanation) -> Iterable[RenderableType]:
    """Yield what memory bandwidth reads on the critical path, and how many kernels it has."""
    found, step = explanation.reading, explanation.path.total
    if found is None:
        return
    total = sum(found.seconds.values())
    rows: list[Row] = [(MEMORY, time(total), share(total, step), "at")]
    for kind, seconds in found.seconds.items():
        name = f"  {SAID[kind]}, {size(found.bytes[kind])}"
        rows.append((name, time(seconds), share(seconds, step), _rate(found.rate(kind))))
    if found.launch:
        name = f"  launching {found.kernels:,} kernels"
        rows.append((name, time(found.launch), share(found.launch, step), bar(found.launch, step)))
    yield Text()
    yield table(rows)
    if not found.launch:
        told = "kernels; the host takes no time to launch them: kernels.launch gives it some"
        yield Text(f"  {found.kernels:,} {told}")


def _rate(rate: float) -> str:
    return f"{rate / 1e12:,.2f} TB/s" if rate else ""


def beside(explanation: Explanation) -> Iterator[RenderableType]:
    """Say what the fullest step takes, where that is not the one explained."""
    most, here = explanation.result.summary.memory, explanation.memory.figures
    if explanation.reading is not None and most.peak > here.peak:
        yield Text(f"  that is the last step; the fullest one takes {size(most.peak)}")


def settings(found: WhatIf) -> Iterator[RenderableType]:
    """Yield what other settings give all steps: the quickest, the leanest, and all of them."""
    base = found.whole
    if not found.inference:
        yield Text("  no other setting of this scenario changes time or memory", "bold")
        return
    quickest = found.inference[0]
    if quickest.replayed.step_time < base.step_time * (1 - STILL):
        change = _change(quickest.replayed.step_time, base.step_time)
        yield Text(f"  quickest: {_said(quickest)}: all steps {change}", "bold")
    leanest = min(found.inference, key=lambda remedy: remedy.replayed.peak)
    if leanest.replayed.peak < base.peak:
        told = f"  lowers the peak most: {_said(leanest)}: {size(leanest.replayed.peak)}"
        fits = base.headroom < 0 <= leanest.replayed.headroom
        yield Text(f"{told}; fits" if fits else told, "bold")
    rows: list[Row] = [("  tried: setting", "peak", "", "all steps")]
    for each in found.inference:
        peak, change = each.replayed.peak, _change(each.replayed.step_time, base.step_time)
        rows.append((f"    {_said(each)}", size(peak), share(peak, base.peak), change))
    yield table(rows)


def _change(after: float, before: float) -> str:
    change = after / before - 1 if before else 0.0
    return "=" if abs(change) < STILL else f"{100 * change:+.2f} %".replace("-", "−")


def _said(remedy: Remedy) -> str:
    return " ".join(remedy.overrides)
