"""A newcomer's first session: ``python benchmarks/bench_first_session.py`` writes results.json.

In an empty folder and a virtual environment of its own: install tspsim, bring a config.json that
tspsim does not ship, ask a question, read the answer and why, look at a picture, do the same from
Python. Every step is the command that a person would type, and all of what it prints is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

RESULTS = Path(__file__).with_name("results.json")
ROOT = RESULTS.parent.parent

#: A model of somebody's own: the shape of Qwen2.5-14B, as its config.json has it.
CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "hidden_act": "silu",
    "rope_theta": 1000000.0,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "dtype": "bfloat16",
}
PYTHON = """
import tspsim

result = tspsim.run("mine.yaml", "workload.sequence=65536")
assert result.summary.step_time > 0
result.plot.gantt().figure.savefig("python.png")
print(result)
"""


class Step(NamedTuple):
    """One line that is typed, and whether tspsim itself is what takes the time."""

    name: str
    words: tuple[str, ...]
    tool: bool = True


INSTALL = (
    Step("environment", (sys.executable, "-m", "venv", ".venv"), tool=False),
    Step("install", (".venv/bin/pip", "install", "--quiet", str(ROOT)), tool=False),
)
SESSION = (
    Step("what is there", ("tspsim", "list", "topologies")),
    Step(
        "question",
        ("tspsim", "new", "--model", "config.json", "--topology", "h100-node", "--phase", "train",
         "--sequence", "32768", "--strategy", "tsp", "-o", "mine.yaml"),
    ),
    Step("answer", ("tspsim", "run", "mine.yaml", "-o", "mine")),
    Step("which is best", ("tspsim", "compare", "mine.yaml", "strategy=tsp,tp,sp,tp_sp")),
    Step("why", ("tspsim", "explain", "mine.yaml")),
    Step("picture", ("tspsim", "plot", "mine", "--kind", "gantt", "-o", "gantt.png")),
    Step("Python", ("python", "-c", PYTHON)),
)  # fmt: skip


def session(steps: tuple[Step, ...], folder: Path, binaries: str) -> dict[str, Any]:
    """Do all steps in a folder; return the seconds of each and what it printed.

    Parameters
    ----------
    steps : tuple of Step
    folder : Path
        Where they are typed; ``config.json`` is put there first.
    binaries : str
        The folder of the environment's programs, relative to `folder` or absolute.
    """
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    path = f"{folder / binaries}{os.pathsep}{os.environ['PATH']}"
    clean = {key: told for key, told in os.environ.items() if key != "PYTHONPATH"}
    done = {}
    for step in steps:
        begin = perf_counter()
        told = subprocess.run(
            ["/usr/bin/env", f"PATH={path}", *step.words],
            cwd=folder, env=clean, check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        done[step.name] = {"seconds": perf_counter() - begin, "printed": told.stdout}
    return done


def main() -> None:
    """Measure, print, and write the figures under ``first_session`` in results.json."""
    steps = (*INSTALL, *SESSION)
    with tempfile.TemporaryDirectory() as folder:
        done = session(steps, Path(folder), ".venv/bin")
    seconds = {name: round(found["seconds"], 1) for name, found in done.items()}
    tool = sum(done[step.name]["seconds"] for step in steps if step.tool)
    total = sum(found["seconds"] for found in done.values())
    figures = {"seconds": round(total, 1), "tool_seconds": round(tool, 1), "steps": seconds}
    old = json.loads(RESULTS.read_text(encoding="utf-8"))
    RESULTS.write_text(json.dumps({**old, "first_session": figures}, indent=2) + "\n")
    for name, found in done.items():
        print(f"== {name}: {found['seconds']:.1f} s\n{found['printed']}")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
