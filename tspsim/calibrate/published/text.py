"""A fitted profile as the text of its YAML file."""

from __future__ import annotations

import math
import textwrap

from tspsim.calibrate.published.calls import Quality
from tspsim.calibrate.published.fit import Fitted, FittedCurve
from tspsim.calibrate.published.rows import Rows
from tspsim.calibrate.published.tables import FittedTables
from tspsim.calibrate.published.whole import Whole
from tspsim.files.units import to_text
from tspsim.topology.evidence import Evidence
from tspsim.topology.hardware import Protocol
from tspsim.topology.whole_steps import StepEvidence

_WIDTH = 100


def profile_text(fitted: Fitted, rows: Rows, whole: Whole) -> str:
    """Return the file: curves, protocols, how well they fit, and where every number comes from.

    Parameters
    ----------
    fitted : Fitted
    rows : Rows
    whole : Whole
        What whole steps say of it.
    """
    recipe = fitted.recipe
    lines = [
        f"# {recipe.title}: efficiencies and protocols fitted to published figures.",
        "# Written by `python -m tspsim.calibrate.published` from published/*.csv; edit those.",
        f"name: {recipe.name}",
        "curves:",
        *(line for part in fitted.curves for line in _curve(part)),
        "protocols:",
        *(_protocol(protocol) for protocol in fitted.protocols),
        *_flash(fitted),
        *_tables(fitted),
        *([f"sustained: {whole.sustained}"] if whole.sustained < 1 else []),
        *([f"error: {whole.error:.2f}"] if whole.error is not None else []),
        "fits:",
        *(line for name, quality in fitted.qualities for line in _quality(name, quality)),
        *(["evidence:"] if fitted.evidence else []),
        *(line for known in fitted.evidence for line in _evidence(known)),
        *(["steps:"] if whole.evidence else []),
        *(line for known in whole.evidence for line in _step_evidence(known)),
        "source:",
        *_source(fitted, rows, whole),
    ]
    return "\n".join(lines) + "\n"


def _curve(part: FittedCurve) -> list[str]:
    points = [f"    - [{size:.4g}, {level}]" for size, level in part.curve.points]
    return [f"  {part.recipe.curve}:", *points]


def _flash(fitted: Fitted) -> list[str]:
    if not fitted.flash:
        return []
    return ["attention:", *(f"  {kernel}: {part}" for kernel, part in fitted.flash.items())]


def _tables(fitted: Fitted) -> list[str]:
    if fitted.tables is None:
        return []
    return ["tables:", f"  file: {fitted.tables.name}", f"  backward: {fitted.tables.backward}"]


def _protocol(way: Protocol) -> str:
    scope = f", collective: {way.collective}" if way.collective else ""
    scope += f", algorithm: {way.algorithm}" if way.algorithm else ""
    scope += ", network: true" if way.network else ""
    scope += f", first: {_size(way.first)}" if way.first else ""
    scope += f", last: {_size(way.last)}" if way.last < math.inf else ""
    scope += f", fewest: {way.fewest}" if way.fewest else ""
    scope += f", most: {way.most}" if way.most else ""
    members = f", per_member: {way.per_member * 1e6:.2f} us" if way.per_member else ""
    members += f", own_part: {way.own_part}" if way.own_part else ""
    figures = f"latency: {way.latency * 1e6:.2f} us, efficiency: {way.efficiency}{members}"
    return f"  - {{{figures}{scope}}}"


def _size(bytes_: float) -> str:
    small = bytes_ % 2**10 == 0 and bytes_ < 2**20
    return f"{int(bytes_) >> 10} KiB" if small else to_text(bytes_, "B")


def _evidence(known: Evidence) -> list[str]:
    found = known.residuals
    return [
        f"  - {{collective: {known.collective}, algorithm: {known.algorithm}, "
        f"ranks: {known.ranks}, nodes: {known.nodes},",
        f"    rows: {found.rows}, bias: {found.bias}, low: {found.low}, high: {found.high}}}",
    ]


def _quality(name: str, quality: Quality) -> list[str]:
    figures = [f"rows: {quality.rows}"]
    if quality.residual is not None:
        figures.append(f"residual: {quality.residual:.4f}")
    if quality.error is not None:
        figures += [f"held_out: {quality.held_out}", f"error: {quality.error:.4f}"]
    key = f"'{name}'" if "," in name else name
    if not quality.note:
        return [f"  {key}: {{{', '.join(figures)}}}"]
    return [f"  {key}: {{{', '.join(figures)},", f"    source: '{quality.note}'}}"]


def _source(fitted: Fitted, rows: Rows, whole: Whole) -> list[str]:
    stand_ins = [
        f"{part.recipe.curve}: {part.recipe.device} stands in ({part.recipe.reason})"
        for part in fitted.curves
        if part.recipe.reason
    ]
    points = {point.source for part in fitted.curves for point in (*part.points, *part.own)}
    calls = {call.source for call in (*fitted.fitted, *fitted.checked)}
    return [
        *_text("curves", [*stand_ins, *(rows.sources[s] for s in fitted.used if s in points)]),
        *(_text("tables", _of_tables(fitted.tables)) if fitted.tables else []),
        *_text(
            "protocols", [*_borrowed(fitted), *(rows.sources[s] for s in fitted.used if s in calls)]
        ),
        *(_text("attention", [_of_flash(fitted)]) if fitted.flash else []),
        *(_text("sustained", [_of_long_runs(fitted)]) if whole.sustained < 1 else []),
        *(_text("steps", [_OF_INTERVALS]) if whole.evidence else []),
        *_text("error", [_of_steps(whole)]),
    ]


def _of_tables(found: FittedTables) -> list[str]:
    return [
        f"{found.source}; made by 'tspsim calibrate import aiconfigurator'",
        f"backward: attention's backward / forward in efficiency, by {len(found.points)} published "
        f"rows of {found.device} ({', '.join(sorted({p.source for p in found.points}))})",
    ]


def _borrowed(fitted: Fitted) -> list[str]:
    """Return which calls go by another device's rows, or by another collective's, and why."""
    parts = fitted.recipe.fitted
    devices = [f"{p.label}: {p.device} stands in ({p.reason})" for p in parts if p.reason]
    kinds = [f"{kind}: as {p.label}, no rows of its own" for p in parts for kind in p.also]
    return devices + kinds


_OF_INTERVALS = (
    "log(measured / predicted) of the steps in published/steps that nothing is fitted to, on all "
    "devices together; made by 'tspsim validate --published'"
)


def _of_flash(fitted: Fitted) -> str:
    whose = fitted.recipe.flash
    return f"efficiency / that of the fastest kernel, by published forward rows of {whose}"


def _of_long_runs(fitted: Fitted) -> str:
    recipe = fitted.recipe
    whose = "" if recipe.steps else "; H100's, whose compute die it shares"
    return f"median of the steps of {recipe.long} (published/steps){whose}"


def _of_steps(whole: Whole) -> str:
    if whole.error is None:
        return "not given: no step was compared; fits has those of kernels and collectives"
    return (
        f"mean absolute relative error of {whole.rows} published times of steps, micro-batches and "
        f"layers on this device, to which nothing is fitted ({', '.join(whole.sources)} in "
        "published/steps); steps has what those of all devices say of an interval"
    )


def _step_evidence(known: StepEvidence) -> list[str]:
    found = known.residuals
    several = "true" if known.several else "false"
    return [
        f"  - {{framework: {known.framework}, several: {several}, sources: {known.sources}, "
        f"rows: {found.rows},",
        f"    bias: {found.bias}, low: {found.low}, high: {found.high}, within: {known.within}}}",
    ]


def _text(key: str, parts: list[str]) -> list[str]:
    """Return a folded YAML text."""
    wrapped = textwrap.wrap(
        "; ".join(parts), _WIDTH - 4, break_long_words=False, break_on_hyphens=False
    )
    return [f"  {key}: >-", *(f"    {line}" for line in wrapped)]
