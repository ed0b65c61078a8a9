"""How pipelines scale: ``python benchmarks/bench_pipeline.py`` writes its part of results.json.

Whole commands, from a YAML file to the result with its memory: GPT-3 175B on 64 devices, TP 8 x
PP 8 with 16 micro-batches; and (unless ``--quick``) a shape of a trillion parameters on 3,072,
TP 8 x PP 64 x DP 6 with 512 micro-batches, folded to one rank per stage (Megatron-LM's largest run,
arXiv 2104.04473, table 1).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from bench_scale import RESULTS, best

CLUSTER = "topology={{file: h100-32-nodes-rail-optimised.yaml, nodes: {nodes}}}"
GPT3 = ("gpt3-175b-tp8", CLUSTER.format(nodes=8), "workload.micro_batches=16", "workload.batch=1",
        "strategy={kind: tp, degree: 8, pp: {stages: 8}}")  # fmt: skip
TRILLION = ("gpt3-175b-tp8", CLUSTER.format(nodes=384), "workload.batch=1",
            "model={hidden: 25600, layers: 128, heads: 160, ffn: 102400, vocab: 51200, mlp: plain, "
            "norm: layernorm}", "workload.micro_batches=512", "workload.recompute=full",
            "strategy={kind: tp, degree: 8, dp: 6, zero: 1, pp: {stages: 64}}")  # fmt: skip


def figures(quick: bool) -> dict[str, Any]:
    """Return seconds, megabytes and ops of every case; of a processor too, which others share."""
    found: dict[str, Any] = {}
    cases = {"gpt3_64": (GPT3, 3)} | ({} if quick else {"trillion_3072": (TRILLION, 1)})
    for name, (arguments, repeats) in cases.items():
        measured = best(*arguments, repeats=repeats)
        engine = measured.result["engine"]
        found[name] = {
            "seconds": round(measured.seconds, 2),
            "cpu_seconds": round(measured.cpu, 2),
            "megabytes": round(measured.megabytes),
            "ops": engine["tasks"],
            "step_time": measured.result["step_time"],
        }
    return found


def main() -> None:
    """Measure, print, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the long run")
    found = figures(parser.parse_args().quick)
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(old | {"pipeline": found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
