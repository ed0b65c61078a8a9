"""Result folders in which files are cut, changed, swapped or gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

from tests.fuzzing import texts, values
from tests.fuzzing.bases import RUNS
from tests.fuzzing.case import Case

_RESULT = "result.json"


def case(rng: Random, folder: Path, bases: Path) -> Case:
    """Return a command that reads, or writes over, a damaged folder."""
    names = sorted(RUNS)
    for name in names:
        shutil.copytree(bases / name, folder / name)
        shutil.copy(bases / f"{name}.yaml", folder)
    name = rng.choice(names)
    _damage(rng, folder, name)
    kind = rng.choice(("gantt", "memory", "links", "roofline", "topology"))
    return Case(
        rng.choice((
            ("report", name), ("report", *names), ("compare", *names), ("explain", name, "--quick"),
            ("plot", name, "--kind", kind), ("plot", name, "--kind", kind, "-o", "p.svg"),
            ("run", f"{name}/{_RESULT}"), ("show", f"{name}/{_RESULT}"),
            ("run", f"{name}.yaml", "-o", name), ("check", f"{name}/{_RESULT}"),
            ("sweep", f"{name}/{_RESULT}", "workload.sequence=64,128"), ("export", name),
        ))
    )  # fmt: skip


def _damage(rng: Random, folder: Path, name: str) -> None:
    """Change a result: its keys as a rule, otherwise its text, or files as a whole."""
    path = folder / name / _RESULT
    kind = rng.randrange(10)
    if kind < 5:
        tree = json.loads(path.read_text(encoding="utf-8"))
        for _ in range(rng.choice((1, 1, 1, 2))):
            tree = values.mutated(rng, tree)
        path.write_text(json.dumps(tree), encoding="utf-8")
    elif kind < 7:
        path.write_bytes(texts.mutated(rng, path.read_text(encoding="utf-8")))
    elif kind == 7:
        path.write_bytes(texts.damaged(rng, path.read_bytes()))
    else:
        _swapped(rng, folder / name)


def _swapped(rng: Random, folder: Path) -> None:
    """Put one file in the place of another, or a folder, or nothing."""
    path = folder / _RESULT if rng.random() < 0.7 else rng.choice(sorted(folder.iterdir()))
    other = rng.choice(sorted(each for each in folder.iterdir() if each != path))
    change = rng.randrange(5)
    if change == 0:
        shutil.copy(other, path)
        return
    path.unlink()
    if change == 1:
        path.mkdir()
    elif change == 2:
        path.symlink_to("/dev/null" if rng.random() < 0.5 else path.name)
    elif change == 3:
        path.touch()
