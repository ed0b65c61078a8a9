"""Results and sweeps as the real program writes them, once for a whole fuzz run."""

from __future__ import annotations

import json
from pathlib import Path

import tspsim
from tests import kineto
from tests.fuzzing.judge import play

#: Folders of runs, each with the file of the scenario that it came from beside it.
RUNS = {
    "run-tsp": "{kind: tsp, degree: 2}",
    "run-tp": "{kind: tp, degree: 2, sequence_parallel: true}",
}
#: Folders of sweeps, with their axes.
SWEEPS = {
    "sweep-words": (
        "strategy={kind: tp, degree: 2},{kind: sp, degree: 2}",
        "workload.sequence=64,128",
    ),
    "sweep-numbers": ("link.bandwidth=x1,x2", "workload.sequence=64,128,63"),
}
#: A folder of the traces that the ranks of a run would have written.
TRACES = "traces"
_SCENARIO = """\
name: {name}
model: {{hidden: 64, layers: 1, heads: 4, kv_heads: 2, ffn: 128, vocab: 64}}
workload: {{sequence: 64}}
topology: {{kind: full, ranks: 2, link: {{bandwidth: 64 GB/s, latency: 1 us}}, device: h100-sxm}}
strategy: {strategy}
"""


def make(folder: Path) -> None:
    """Write all of them into a folder, with nothing in them that differs from time to time."""
    for name, strategy in RUNS.items():
        text = _SCENARIO.format(name=name, strategy=strategy)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        _must(folder, "run", f"{name}.yaml", "-o", name)
        _without_clock(folder / name / "result.json")
    (folder / TRACES).mkdir()
    kineto.write(tspsim.run(folder / "run-tsp.yaml"), folder / TRACES)
    for name in SWEEPS:
        text = _SCENARIO.format(name=name, strategy="{kind: tp, degree: 2}")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        _must(folder, *resumed(name))


def resumed(name: str) -> tuple[str, ...]:
    """Return the words that make a sweep, or go on with it."""
    return ("sweep", f"{name}.yaml", *SWEEPS[name], "-o", name)


def _must(folder: Path, *words: str) -> None:
    done = play(words, folder)
    assert done.code == 0, done


def _without_clock(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    found["engine"]["wall_seconds"] = 0.5
    found["provenance"]["wall_seconds"] = dict.fromkeys(found["provenance"]["wall_seconds"], 0.5)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
