"""``spans.csv.gz``: one line per task of every rank.

Columns, in this order:

=============== ==================================================================================
``rank``        rank that plays the task
``lane``        stream: ``compute``, ``host``, or ``axis/label`` of a communicator
``op``          index of the op in the rank's program: its issue order
``kind``        ``matmul``, ``attention``, ``broadcast``...
``label``       what it is in the model, ``mlp.gate``
``phase``       ``forward``, ``recompute``, ``backward`` or ``optimizer``
``layer``       layer, from 0; empty outside the layers
``micro_batch`` micro-batch, from 0
``start``       seconds from the start of the step
``end``         seconds from the start of the step
``flops``       matrix flops of a compute task
``bytes``       bytes that a compute task moves to and from device memory
``message``     bytes of the message of a communication task
``received``    bytes of it that this rank receives (mean over the communicator)
=============== ==================================================================================

Ranks ascend, and the tasks of a rank stand in issue order. Times are written with the fewest digits
that give back the same double.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tspsim.engine.timeline import Timeline
from tspsim.output import gzipped
from tspsim.output.columns import figures, varies
from tspsim.program.types import Op, Program

COLUMNS = (
    "rank", "lane", "op", "kind", "label", "phase", "layer", "micro_batch", "start", "end",
    "flops", "bytes", "message", "received",
)  # fmt: skip


def write(timeline: Timeline, path: Path) -> None:
    """Write the spans of all ranks that are shown."""
    gzipped.write(path, blocks(timeline))


def blocks(timeline: Timeline) -> Iterator[str]:
    """Yield the header, then the lines of one rank after another."""
    yield ",".join(COLUMNS) + "\n"
    # A program is shared by many ranks: what all of them say about an op is made once.
    texts: dict[int, list[tuple[str, str]]] = {}
    for rank in timeline.shown:
        program = timeline.programs.of(rank)
        if id(program) not in texts:
            texts[id(program)] = [_around(timeline, program, op, rank) for op in program.ops]
        parts = texts[id(program)]
        for op in program.ops:
            if varies(op):
                parts[op.index] = _around(timeline, program, op, rank)
        times = zip(parts, timeline.start[rank].tolist(), timeline.end[rank].tolist(), strict=True)
        yield "".join([f"{rank},{a},{start!r},{end!r},{z}" for (a, z), start, end in times])


def _around(timeline: Timeline, program: Program, op: Op, rank: int) -> tuple[str, str]:
    """Return what stands between the rank and the times, and what follows them."""
    lane = program.lanes[op.lane]
    layer = "" if op.layer is None else op.layer
    before = (lane.name, op.index, op.kind.name, op.label, op.phase, layer, op.micro_batch)
    return _line(before), _line(figures(op, lane, timeline.mesh, rank)) + "\n"


def _line(fields: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(fields)
    return buffer.getvalue()
