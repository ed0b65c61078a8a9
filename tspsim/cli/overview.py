"""``tspsim show``: a scenario with everything resolved, and what its recorded programs hold."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.cli import placement
from tspsim.cli.closed_forms import forward_volume
from tspsim.files.units import format_bytes
from tspsim.mesh import Mesh
from tspsim.model import forward_flops, model_flops
from tspsim.program.types import Lane, Op, Program
from tspsim.scenario.types import Scenario


def overview(scenario: Scenario) -> dict[str, Any]:
    """Return what is known of a scenario before it is simulated, as a JSON-able mapping.

    Counts and bytes are those of rank 0, over one step.
    """
    mesh = scenario.strategy.mesh()
    programs = scenario.strategy.record(scenario.model, scenario.workload, scenario.optimizer)
    program = programs.of(0)
    return {
        "scenario": scenario.name,
        "document": dict(scenario.document),
        "strategy": {"kind": scenario.strategy.kind, "axes": dict(mesh.axes)},
        "ranks": mesh.ranks,
        "disturbances": scenario.disturbances.text() or None,
        "parameters": scenario.model.parameters,
        "flops": {
            "forward": scenario.strategy.dp * forward_flops(scenario.model, scenario.workload),
            "model": scenario.strategy.dp * model_flops(scenario.model, scenario.workload),
        },
        "placement": placement.placed(mesh, scenario.topology),
        "resident_bytes_per_rank": _resident(program),
        "ops_per_rank": len(program.ops),
        "ops_by_kind": dict(sorted(Counter(op.kind.name for op in program.ops).items())),
        "communication": _communication(program, mesh),
        "layer_forward_bytes": {
            "closed_form": forward_volume(scenario),
            "recorded": _layer_forward(program, mesh),
        },
    }


def _resident(program: Program) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for buffer in program.buffers:
        if buffer.resident:
            sizes[buffer.kind] += buffer.bytes
    return dict(sizes)


def _communication(program: Program, mesh: Mesh) -> dict[str, dict[str, float]]:
    """Return calls and received bytes by collective."""
    found: dict[str, dict[str, float]] = {}
    for op in program.ops:
        if op.message is not None:
            entry = found.setdefault(op.message.collective, {"calls": 0, "received_bytes": 0.0})
            entry["calls"] += 1
            entry["received_bytes"] += _received(op, program, mesh)
    return dict(sorted(found.items()))


def _layer_forward(program: Program, mesh: Mesh) -> float:
    """Return the bytes received in the forward pass of layer 0 of the first micro-batch."""
    ops = (op for op in program.ops if op.message is not None)
    first = (op for op in ops if (op.phase, op.layer, op.micro_batch) == ("forward", 0, 0))
    return sum(_received(op, program, mesh) for op in first)


def _received(op: Op, program: Program, mesh: Mesh) -> float:
    return op.message.received(_degree(program.lanes[op.lane], mesh)) if op.message else 0.0


def _degree(lane: Lane, mesh: Mesh) -> int:
    return 1 if lane.axis is None else len(mesh.group(0, lane.axis, lane.size))


def render(found: Mapping[str, Any]) -> RenderableType:
    """Return the overview as text and tables."""
    axes = " x ".join(f"{axis} {degree}" for axis, degree in found["strategy"]["axes"].items())
    flops = found["flops"]
    sizes = [
        ("mesh", f"{axes}: {found['ranks']} ranks"),
        ("parameters", f"{found['parameters']:,}"),
        ("flops, forward", f"{flops['forward']:.4g}"),
        ("flops, whole step", f"{flops['model']:.4g} (as MFU counts them: nothing twice)"),
    ]
    if found["disturbances"]:
        sizes.append(("disturbed", found["disturbances"]))
    resident = found["resident_bytes_per_rank"].items()
    calls = found["communication"].items()
    return Group(
        _table("sizes", sizes),
        _table("placement, innermost first", placement.rows(found["placement"])),
        _table("resident on rank 0", [(kind, format_bytes(b)) for kind, b in resident]),
        _table(f"{found['ops_per_rank']:,} ops on rank 0", _counts(found["ops_by_kind"])),
        _table(
            "received by rank 0 in a step",
            [(n, f"{format_bytes(c['received_bytes'])} in {c['calls']:,} calls") for n, c in calls],
        ),
        _table("received in one layer's forward", _volumes(found["layer_forward_bytes"])),
    )


def _counts(found: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(kind, f"{count:,}") for kind, count in found.items()]


def _volumes(found: Mapping[str, float | None]) -> list[tuple[str, str]]:
    texts = {"closed_form": "closed form", "recorded": "by the program"}
    return [
        (texts[key], "none is written down" if size is None else f"{format_bytes(size)}")
        for key, size in found.items()
    ]


def _table(title: str, rows: Iterable[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    table.add_column(min_width=22, no_wrap=True)
    for name, value in rows:
        table.add_row(f"  {name}", value)
    return Group(Text(title, "bold"), table) if title else table


def resolved(document: Mapping[str, Any]) -> str:
    """Return a resolved scenario as YAML, without the sources of its numbers."""
    from ruamel.yaml import YAML

    yaml = YAML()  # the round-trip writer keeps the order of keys
    yaml.default_flow_style = None
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(_without_sources(document), text)
    return text.getvalue()


def _without_sources(value: Any) -> Any:
    """Return a document without the texts that say where its numbers come from."""
    if isinstance(value, Mapping):
        return {key: _without_sources(v) for key, v in value.items() if key != "source"}
    return value
