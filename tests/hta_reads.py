"""What Holistic Trace Analysis says of folders of traces, as JSON: a process of its own, since it
takes over logging and forks. It is called as its documentation says, with no option but the sizes
of messages.
"""  # noqa: D205

from __future__ import annotations

import json
import sys
from typing import Any

from hta.configs.parser_config import ParserConfig
from hta.trace_analysis import TraceAnalysis

#: Columns of a kernel beside its name.
COLUMNS = [
    "stream", "correlation", "ts", "dur", "iteration", "collective_name", "in_msg_nelems",
    "out_msg_nelems", "msg_dtype", "group_size",
]  # fmt: skip


def answers(folder: str) -> dict[str, Any]:
    """Return what HTA finds in the traces of one run."""
    analysis = TraceAnalysis(trace_dir=folder)
    _, kernels = analysis.get_gpu_kernel_breakdown(visualize=False, num_kernels=10_000)
    return {
        "breakdown": rows(analysis.get_temporal_breakdown(visualize=False)),
        "overlap": rows(analysis.get_comm_comp_overlap(visualize=False)),
        "kernels": rows(kernels),
        "idle": rows(analysis.get_idle_time_breakdown(ranks=[0], visualize=False)[0]),
        "stragglers": late(analysis) if folder.endswith("straggler") else None,
        "ranks": {rank: played(analysis, rank) for rank in analysis.t.get_ranks()},
    }


def late(analysis: TraceAnalysis) -> list[int]:
    """Return whom HTA finds to be late; it fails where no two ranks are in a call together."""
    return list(map(int, analysis.get_potential_stragglers(num_candidates=1)))


def played(analysis: TraceAnalysis, rank: int) -> list[dict[str, Any]]:
    """Return the kernels of a rank, in the order of the file."""
    trace = analysis.t.get_trace(rank)
    kernels = trace[trace["stream"] > 0].sort_values("index")
    table = kernels[COLUMNS].copy()
    table["name"] = [analysis.t.symbol_table.sym_table[name] for name in kernels["name"]]
    launched = trace.loc[kernels["index_correlation"], "correlation"]
    assert launched.tolist() == kernels["correlation"].tolist()
    return rows(table)


def rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame."""
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return found


if __name__ == "__main__":
    ParserConfig.enable_communication_args()
    json.dump({folder: answers(folder) for folder in sys.argv[1:]}, sys.stdout)
