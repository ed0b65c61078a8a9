"""The README's table of speeds: what benchmarks/results.json holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results.json"
PIPELINES = {
    "GPT-3 175B, TP 8 x PP 8, 16 micro-batches, with memory": "gpt3_64",
    "a trillion parameters, TP 8 x PP 64 x DP 6, 512 micro-batches, with memory": "trillion_3072",
}
_FIGURES = re.compile(r"(<!-- figures: [^>]*-->\n).*?(<!-- end of figures -->)", re.DOTALL)


def figures(measured: Mapping[str, Any]) -> str:
    """Return the README's table of what the benchmarks measured."""
    scale, sends = measured["scale"], measured["sends"]
    whole = scale["tsp_1024_all_ranks"]

    def case(name: str) -> str:
        return f"{scale[name]['seconds']:.1f} s, {scale[name]['megabytes']:,} MB"

    rows = {
        "TSP-8 x dp 128 on 1,024 MI300X, 32 layers, one training step": case("tsp_1024"),
        f"the same, all {whole['ops']:,} ops of all ranks simulated":
            f"{case('tsp_1024_all_ranks')}; {whole['ops_per_second']:,} ops/s",
        "TP 4 x SP 2 x dp 128; SP-8 x dp 128": f"{case('tp_sp_1024')}; {case('sp_1024')}",
        "TSP-8 x dp 2,048 on 16,384 devices": case("tsp_16384"),
        "GPT-3 175B, 96 layers, TP-8, with its memory trace": case("gpt3_175b"),
        f"a ring all-reduce on 1,024 ranks, all {sends['sends']:,} sends":
            f"{sends['steps_seconds']:.2f} s; a bare `heapq` loop {sends['heapq_seconds']:.2f} s",
        "the same as one coflow": f"{sends['coflow_milliseconds']:.1f} ms",
        "`tspsim run` of 8 ranks with all outputs":
            f"{measured['run_seconds']:.1f} s, {measured['run_megabytes']:,} MB",
        "`tspsim --help`": f"{measured['help_seconds']:.2f} s",
    }  # fmt: skip
    if "pipeline" in measured:
        pipeline = measured["pipeline"]
        rows |= {
            what: f"{pipeline[name]['seconds']:.1f} s, {pipeline[name]['megabytes']:,} MB"
            for what, name in PIPELINES.items()
        }
    if "inference" in measured:
        inference = measured["inference"]
        served = inference["serve"]
        rows |= {
            "in this process: a decode step of a 70B model on 8 ranks, with memory":
                f"{inference['decode']['seconds']:.2f} s",
            "a prompt of 8,192 tokens and 1,000 tokens behind it":
                f"{inference['generate']['seconds']:.1f} s",
            f"`tspsim serve`, 1,000 requests, {served['steps']:,} steps":
                f"{served['seconds']:.0f} s",
        }  # fmt: skip
    if "sweep" in measured:
        sweep = measured["sweep"]
        rows["a sweep of 1,000 such steps of 8 ranks, 2 processes"] = f"{sweep['seconds']:.0f} s"
    if "plan" in measured:
        rows["`tspsim plan`, Llama-3-70B on 64 H100"] = f"{measured['plan']['seconds']:.0f} s"
    if "first_session" in measured:
        session = measured["first_session"]
        rows["a newcomer's first session: install, question, answer, why, picture, Python"] = (
            f"{session['seconds']:.0f} s, of which tspsim {session['tool_seconds']:.0f} s"
        )
    body = "".join(f"| {what} | {value} |\n" for what, value in rows.items())
    return f"| what | measured |\n|---|---|\n{body}"


def with_figures(text: str) -> str:
    """Return the README with the figures of benchmarks/results.json."""
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))
    return _FIGURES.sub(lambda m: f"{m[1]}{figures(measured)}{m[2]}", text)
