"""``tspsim show``: a scenario with everything resolved, and what its recorded programs hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.analysis.inference import cache_of
from tspsim.cli import placement, stages
from tspsim.cli.closed_forms import forward_volume
from tspsim.files.numbers import plain
from tspsim.files.units import format_bytes
from tspsim.flops import forward_flops, model_flops
from tspsim.mesh import Mesh
from tspsim.program.by_rank import received
from tspsim.program.types import Program, Programs
from tspsim.program.varying import of_rank
from tspsim.scenario.types import Scenario


def overview(scenario: Scenario) -> dict[str, Any]:
    """Return what is known of a scenario before it is simulated, as a JSON-able mapping.

    Counts and bytes are those of one rank, over one step: of rank 0, and of the first rank of every
    role under ``roles`` where ranks play several.
    """
    mesh = scenario.strategy.mesh()
    programs = scenario.strategy.record(scenario.model, scenario.workload, scenario.optimizer)
    held = [_held(programs, mesh, rank) for rank in programs.first_ranks]
    return {
        "scenario": scenario.name,
        "document": dict(scenario.document),
        "strategy": {"kind": scenario.strategy.kind, "axes": dict(mesh.axes)},
        "ranks": mesh.ranks,
        "disturbances": scenario.disturbances.text() or None,
        "parameters": scenario.model.parameters,
        "active_parameters": scenario.model.active_parameters,
        "flops": {
            "forward": scenario.strategy.dp * forward_flops(scenario.model, scenario.workload),
            "model": scenario.strategy.dp * model_flops(scenario.model, scenario.workload),
        },
        **_inference(scenario, programs, mesh),
        "placement": placement.placed(mesh, scenario.topology),
        **stages.found(scenario),
        **held[0],
        **({"roles": held} if len(held) > 1 else {}),
        "layer_forward_bytes": {
            "closed_form": forward_volume(scenario),
            "recorded": _layer_forward(programs, mesh),
        },
    }


def _inference(scenario: Scenario, programs: Programs, mesh: Mesh) -> dict[str, Any]:
    """Return what a step of inference does, how many there are, and what the cache takes."""
    workload, series = scenario.workload, scenario.workload.series
    if workload.requests is None or series is None:
        return {}
    cache = cache_of(programs, mesh, workload)
    return {
        "inference": {
            "phase": workload.phase,
            "step": workload.requests.text,
            "steps": {"prefill": series.prefills, "decode": series.decodes},
            "sequences": len(series.prompts) * workload.micro_batches,
            "cache": asdict(cache),
        }
    }


def _held(programs: Programs, mesh: Mesh, rank: int) -> dict[str, Any]:
    """Return what the program of a rank holds; with several roles, also who plays it."""
    program, role = programs.of(rank), programs.role_of_rank[rank]
    players = {"rank": rank, "ranks_alike": programs.role_of_rank.count(role)}
    return {
        **(players if len(programs.roles) > 1 else {}),
        "resident_bytes_per_rank": _resident(program, mesh, rank),
        "ops_per_rank": len(program.ops),
        "ops_by_kind": dict(sorted(Counter(op.kind.name for op in program.ops).items())),
        "communication": _communication(program, mesh, rank),
    }


def _resident(program: Program, mesh: Mesh, rank: int) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for buffer in program.buffers:
        if buffer.lasting:
            sizes[buffer.kind] += of_rank(buffer.bytes, mesh, rank)
    return dict(sizes)


def _communication(program: Program, mesh: Mesh, rank: int) -> dict[str, dict[str, float]]:
    """Return calls and received bytes by collective."""
    found: dict[str, dict[str, float]] = {}
    for op in program.ops:
        if op.message is not None:
            entry = found.setdefault(op.message.collective, {"calls": 0, "received_bytes": 0.0})
            entry["calls"] += 1
            entry["received_bytes"] += received(op.message, program.lanes[op.lane], mesh, rank)
    return dict(sorted(found.items()))


def _layer_forward(programs: Programs, mesh: Mesh) -> float:
    """Return the bytes received in the forward pass of layer 0 of the first micro-batch.

    On the first rank that has this layer.
    """
    for rank in programs.first_ranks:
        program = programs.of(rank)
        first = [o for o in program.ops if (o.phase, o.layer, o.micro_batch) == ("forward", 0, 0)]
        if first:
            said = ((o.message, program.lanes[o.lane]) for o in first if o.message is not None)
            return sum(received(message, lane, mesh, rank) for message, lane in said)
    return 0.0


def render(found: Mapping[str, Any]) -> RenderableType:
    """Return the overview as text and tables."""
    axes = " x ".join(f"{axis} {degree}" for axis, degree in found["strategy"]["axes"].items())
    flops = found["flops"]
    sizes = [
        ("mesh", f"{axes}: {found['ranks']} ranks"),
        ("parameters", _parameters(found)),
        ("flops, forward", _tflop(flops["forward"])),
        ("flops, whole step", f"{_tflop(flops['model'])} (as MFU counts them: nothing twice)"),
    ]
    if found["disturbances"]:
        sizes.append(("disturbed", found["disturbances"]))
    sizes += _steps(found)
    roles = found.get("roles", [found])
    return Group(
        _table("sizes", sizes),
        _table("placement, innermost first", placement.rows(found["placement"])),
        *_stages(found),
        *(table for role in roles for table in _of_role(role)),
        _table("received in one layer's forward", _volumes(found["layer_forward_bytes"])),
    )


def _steps(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a step of inference does, and what the cache of a rank takes."""
    if "inference" not in found:
        return
    told = found["inference"]
    steps, cache = told["steps"], told["cache"]
    count = ", ".join(f"{number:,} {phase}" for phase, number in steps.items() if number)
    yield "steps", f"{told['phase']}: {count}"
    yield ("step" if sum(steps.values()) == 1 else "last step"), told["step"]
    token = f"{format_bytes(round(cache['bytes_per_token']))} a token of a sequence"
    yield "cache of a rank", f"{format_bytes(round(cache['bytes']))}: {token}"


def _tflop(flops: float) -> str:
    return f"{plain(flops / 1e12, 4)} Tflop"


def _parameters(found: Mapping[str, Any]) -> str:
    """Return how many there are, and how many of them a token meets where it does not meet all."""
    total, active = found["parameters"], found["active_parameters"]
    return f"{total:,}" + (f", {active:,} active" if active < total else "")


def _stages(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what lies on each rank of a pipeline, if there is one."""
    if "pipeline" in found:
        yield _table(f"stages of the pipeline, {found['pipeline']['schedule']}", stages.rows(found))


def _of_role(held: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the tables of one role's program."""
    rank, alike = held.get("rank", 0), held.get("ranks_alike", 1)
    who = f"rank {rank}" + (f" and {alike - 1} like it" if alike > 1 else "")
    resident, calls = held["resident_bytes_per_rank"].items(), held["communication"].items()
    yield _table(f"resident on {who}", [(kind, format_bytes(b)) for kind, b in resident])
    yield _table(f"{held['ops_per_rank']:,} ops on {who}", _counts(held["ops_by_kind"]))
    yield _table(
        f"received by {who} in a step",
        [
            (n, f"{format_bytes(c['received_bytes'])} in {c['calls']:,} calls")
            for n, c in calls
            if n != "send"
        ],
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
