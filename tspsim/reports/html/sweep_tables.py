"""The tables of a sweep and its line chart, as the page's template and script need them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tspsim.output.plots.style import BLUE, DARK, GREEN, ORANGE, PURPLE, SKY, VERMILLION, YELLOW
from tspsim.output.units import size, time
from tspsim.reports.html.settings import Setting, number, rate, short, shown, step_time
from tspsim.reports.html.sources import Swept
from tspsim.sweeps import values
from tspsim.sweeps.store import AxisInfo, Row

#: Colours of candidates, in the order in which a sweep meets them.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, DARK, YELLOW)
#: Rows of the full table, and of the table of winners, at most.
MOST_ROWS, MOST_WINNERS = 1000, 200
#: Points of the line chart at most.
MOST_POINTS = 4000
#: A map has at most this many rows and columns.
MOST_CELLS = 24


def tables(swept: Swept) -> dict[str, Any]:
    """Return the winners, the map over two axes where there are two, and all rows."""
    axes = [axis for axis in swept.store.axes if axis.key in swept.settings[0].axes]
    colours = _colours(swept)
    found = {
        "counts": f"{len(swept.rows)} of {swept.store.count} points",
        "statuses": ", ".join(f"{n} {status}" for status, n in swept.store.statuses().items()),
        "axes": [(short(axis.key), axis.key) for axis in axes],
        "colours": colours,
        "contested": swept.contested,
        "speeds": speeds(swept),
        "map": _map(swept, axes, colours),
        "winners": [_winner(swept, setting) for setting in swept.settings[:MOST_WINNERS]],
        "left_out": max(0, len(swept.settings) - MOST_WINNERS),
    }
    return found | _rows(swept)


def _colours(swept: Swept) -> dict[str, str]:
    names = dict.fromkeys(swept.names.name(row) for row in swept.rows)
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _winner(swept: Swept, setting: Setting) -> dict[str, Any]:
    told: dict[str, Any] = {"axes": [shown(value) for value in setting.axes.values()]}
    if not setting.ranked:
        reasons = [f"{swept.names.name(row)}: {row.reason}" for row in setting.others]
        return told | {"name": "", "why": "; ".join(reasons)}
    first = setting.ranked[0]
    told |= {
        "name": swept.names.name(first),
        "step": step_time(first),
        "rate": f"{_rate(first):,.0f}",
        "peak": size(first.figures["memory.peak"]),
        "second": "",
    }
    if setting.margin is not None:
        second = swept.names.name(setting.ranked[1])
        draw = " (a draw)" if setting.draw else ""
        told["second"] = f"{100 * setting.margin:.1f} % ahead of {second}{draw}"
    elif setting.others:
        told["second"] = "nothing else fits"
    return told


def _map(swept: Swept, axes: Sequence[AxisInfo], colours: dict[str, str]) -> dict[str, Any] | None:
    """Return the winners as a grid over two axes; None where the settings are no such grid."""
    if len(axes) != 2 or not swept.contested:
        return None
    across, down = sorted(axes, key=lambda axis: len(axis.values), reverse=True)
    x, y = _sorted(across), _sorted(down)
    if down.numeric:  # the largest on top, as in a plot
        y.reverse()
    cells = {
        (values.label(s.axes[across.key]), values.label(s.axes[down.key])): s
        for s in swept.settings
    }
    if max(len(x), len(y)) > MOST_CELLS or len(x) * len(y) > 2 * len(cells):
        return None
    return {
        "across": short(across.key),
        "down": short(down.key),
        "columns": [shown(value) for value in x],
        "rows": [
            (shown(v), [_cell(swept, cells.get((values.label(u), values.label(v))), colours)
                        for u in x])
            for v in y
        ],
    }  # fmt: skip


def _sorted(axis: AxisInfo) -> list[Any]:
    if not axis.numeric:
        return list(axis.values)
    return sorted(axis.values, key=lambda value: number(axis.key, value))


def _cell(swept: Swept, setting: Setting | None, colours: dict[str, str]) -> dict[str, str]:
    if setting is None:
        return {"name": "", "margin": "", "colour": "", "ink": ""}
    if not setting.ranked:
        return {"name": "nothing fits", "margin": "", "colour": "", "ink": ""}
    name = swept.names.name(setting.ranked[0])
    colour = colours[name]
    ink = "white" if colour in (BLUE, GREEN, DARK, VERMILLION) else "black"
    margin = "alone" if setting.margin is None else _lead(setting, setting.margin)
    return {"name": name, "margin": margin, "colour": colour, "ink": ink}


def _lead(setting: Setting, margin: float) -> str:
    return f"{'≈ ' if setting.draw else ''}+{100 * margin:.0f} %"


def _rows(swept: Swept) -> dict[str, Any]:
    """Return the full table: texts, and the numbers by which they sort."""
    keys = [axis.key for axis in swept.store.axes]
    rows = list(swept.rows)
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: -rate(row) if row.status == "ok" else 1.0)[:MOST_ROWS]
    heads = [short(key) for key in keys]
    heads += ["mesh", *speeds(swept), "MFU", "exposed", "peak memory", "verdict"]
    return {
        "heads": heads,
        "rows": [_texts(row, keys) for row in rows],
        "all_rows": len(swept.rows),
        "most_points": MOST_POINTS,
    }


def speeds(swept: Swept) -> tuple[str, str]:
    """Return what times and rates are of: in inference all steps and devices."""
    infers = any("inference.latency" in row.figures for row in swept.rows)
    return ("all steps", "tokens/s") if infers else ("step time", "tokens/s/device")


def _rate(row: Row) -> float:
    found = row.figures
    return rate(row) if "inference.latency" in found else found["tokens_per_second_per_device"]


def _texts(row: Row, keys: Sequence[str]) -> list[tuple[str, float | str]]:
    cells: list[tuple[str, float | str]] = []
    for key in keys:
        place = row.number(key)
        cells.append((shown(row.axes[key]), shown(row.axes[key]) if place is None else place))
    found = row.figures
    verdict = "fits" if row.status == "ok" else row.reason or row.status
    if not found:
        return [*cells, *[("", "")] * 6, (verdict, verdict)]
    mfu, exposed = found["mfu"], found["time.exposed_communication"]
    return [
        *cells,
        (found["mesh"], found["mesh"]),
        (step_time(row), found.get("inference.latency", found["step_time"])),
        (f"{_rate(row):,.0f}", _rate(row)),
        ("unknown" if mfu is None else f"{100 * mfu:.1f} %", mfu or 0.0),
        (time(exposed), exposed),
        (size(found["memory.peak"]), found["memory.peak"]),
        (verdict, verdict),
    ]


def lines(swept: Swept) -> dict[str, Any] | None:
    """Return the line chart: throughput over the numeric axis with the most values."""
    numeric = [axis for axis in swept.store.axes if axis.numeric and len(axis.values) > 1]
    numeric = [axis for axis in numeric if axis.key in swept.settings[0].axes]
    if not numeric:
        return None
    across = max(numeric, key=lambda axis: len(axis.values))
    others = [key for key in swept.settings[0].axes if key != across.key]
    # Drawn samples hardly ever share the values of their other axes: all of them are one cloud.
    places = {tuple(shown(each.axes[key]) for key in others) for each in swept.settings}
    cloud = 2 * len(places) > len(swept.settings)
    others = [] if cloud else others
    points = _few([_point(swept, row, across.key, others) for row in swept.rows if row.figures])
    if not points:
        return None
    best = max(points, key=lambda point: (point["fits"], point["y"]))
    return {
        "axis": short(across.key),
        "cloud": cloud,
        "others": [
            {
                "name": short(key),
                "values": list(dict.fromkeys(p["at"][i] for p in points)),
                "shown": best["at"][i],
            }
            for i, key in enumerate(others)
        ],
        "colours": _colours(swept),
        "points": points,
    }


def _point(swept: Swept, row: Row, across: str, others: Sequence[str]) -> dict[str, Any]:
    told = [step_time(row), f"peak {size(row.figures['memory.peak'])}"]
    return {
        "x": number(across, row.axes[across]),
        "xt": shown(row.axes[across]),
        "y": row.figures["tokens_per_second_per_device"],
        "name": swept.names.name(row),
        "at": [shown(row.axes[key]) for key in others],
        "fits": row.status == "ok",
        "told": ", ".join(filter(None, (*told, row.reason))),
    }


def _few(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of as many choices of the other axes as a page holds, the best's first."""
    if len(points) <= MOST_POINTS:
        return points
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for point in sorted(points, key=lambda point: (not point["fits"], -point["y"])):
        groups[tuple(point["at"])].append(point)
    kept: list[dict[str, Any]] = []
    for group in groups.values():
        if kept and len(kept) + len(group) > MOST_POINTS:
            break
        kept += group[:MOST_POINTS]
    return kept
