"""Shipped scenarios, studies and topologies whose text was changed."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzzing import texts
from tests.fuzzing.case import SCENARIO, Case
from tspsim.files.shipped import shipped

#: One layer of any model is read as all of them are, and is through in no time.
_SHORT = "model.layers=1"
_FABRIC = """\
model: {hidden: 64, layers: 1, heads: 8, ffn: 64, vocab: 0}
workload: {sequence: 64}
topology: {file: mutated.yaml}
strategy: {kind: tp, degree: 8}
"""


def case(rng: Random, folder: Path, _bases: Path) -> Case:
    """Return a command that reads a changed file: a scenario, a study, or a topology."""
    kind = rng.choice(("scenario", "scenario", "study", "topology"))
    if kind == "topology":
        (folder / SCENARIO).write_text(_FABRIC, encoding="utf-8")
        (folder / "mutated.yaml").write_bytes(_mutated(rng, shipped("topologies"), "*node.yaml"))
        return Case(("show", SCENARIO))
    if kind == "study":
        studies = shipped("scenarios") / "studies"
        (folder / SCENARIO).write_bytes(_mutated(rng, studies, "*.yaml"))
        return Case(("sweep", SCENARIO))
    (folder / SCENARIO).write_bytes(_mutated(rng, shipped("scenarios"), "*.yaml"))
    return Case((rng.choice(("show", "show", "run")), SCENARIO, _SHORT))


def _mutated(rng: Random, folder: Path, pattern: str) -> bytes:
    path = rng.choice(sorted(folder.glob(pattern)))
    return texts.mutated(rng, path.read_text(encoding="utf-8"))
