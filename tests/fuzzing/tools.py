"""Files and words of other tools: traces, command lines, requests, and exports to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.fuzzing import texts, values
from tests.fuzzing.bases import RUNS, TRACES
from tests.fuzzing.case import Case

DATA = Path(__file__).parent.parent / "data"

#: Flags of serve with what suits them: those that are needed, and others.
_NEEDED = (("--arrivals", "200/s"), ("--prompt", "lognormal:64:0.5"), ("--new-tokens", "4..12"))
_OTHERS = (
    ("--requests", "20"), ("--seed", "1"), ("--max-tokens", "512"), ("--max-sequences", "32"),
    ("--block", "16"), ("--cache-tokens", "4096"), ("--json", ""), ("-o", "p.svg"),
)  # fmt: skip
_DECODES = ("workload={phase: decode, cached: 64}", "workload={phase: prefill, sequence: 64}",
            "workload={phase: generate, prompt: 64, new_tokens: 8}")  # fmt: skip
_PLACES = ("out", "out.json", "out.json.gz", "out.csv", "no/out.csv", "", "a\x1bb.csv")
_REQUESTS = "arrival,prompt,new_tokens\n0.0,64,8\n0.001,128,4\n0.002,64,1\n0.002,64,12\n"


def case(rng: Random, folder: Path, bases: Path) -> Case:
    """Return a command that reads or writes files of other tools, something of it broken."""
    makers: tuple[Callable[[Random, Path, Path], Sequence[str]], ...] = (
        _serve, _beside, _export, _import, _beside, _serve,
    )  # fmt: skip
    return Case(tuple(rng.choice(makers)(rng, folder, bases)))


def _serve(rng: Random, folder: Path, bases: Path) -> list[str]:
    """Serve drawn requests, or those of a file, with some flags."""
    shutil.copy(bases / "run-tsp.yaml", folder)
    flags = [*_NEEDED, *rng.sample(_OTHERS, rng.randint(0, 4))]
    if rng.random() < 0.5:
        (folder / "requests.csv").write_bytes(_either(rng, _REQUESTS))
        flags = [("--arrivals", "requests.csv"), *flags[rng.choice((1, 3, 3)) :]]
    given = [word for flag in flags for word in _given(rng, *flag)]
    return ["serve", "run-tsp.yaml", rng.choice(_DECODES), *given]


def _given(rng: Random, flag: str, value: str) -> list[str]:
    """Return a flag with its value, as a rule."""
    if rng.random() < 0.1:
        value = str(rng.choice((values.near(rng, value), values.odd(rng))))
    return [flag, value] if value else [flag]


def _beside(rng: Random, folder: Path, bases: Path) -> list[str]:
    """Lay traces of which some are damaged beside a run."""
    shutil.copytree(bases / TRACES, folder / TRACES)
    name = rng.choice(sorted(RUNS))
    shutil.copytree(bases / name, folder / name)
    shutil.copy(bases / f"{name}.yaml", folder)
    _damage_trace(rng, rng.choice(sorted((folder / TRACES).iterdir())))
    source = rng.choice((name, f"{name}.yaml"))
    more = rng.choice(((), ("--json",), ("-o", "p.svg"), ("-o", "no/p.svg"), ("workload.batch=2",)))
    return ["compare", source, rng.choice((TRACES, f"{TRACES}/rank0.json")), *more]


def _damage_trace(rng: Random, path: Path) -> None:
    """Change events of a trace, as a rule; otherwise its text, its bytes, or whose it is."""
    kind = rng.randrange(8)
    if kind < 4:
        tree = json.loads(path.read_text(encoding="utf-8"))
        for _ in range(rng.choice((1, 1, 3, 10))):
            tree = values.mutated(rng, tree)
        path.write_text(json.dumps(tree), encoding="utf-8")
    elif kind == 4:
        path.write_bytes(texts.mutated(rng, path.read_text(encoding="utf-8")))
    elif kind == 5:
        path.write_bytes(texts.damaged(rng, path.read_bytes()))
    elif kind == 6:
        content = path.read_bytes()
        path.with_name(rng.choice(("rank0.json", "rank1.json", "rank7.json.gz"))).write_bytes(
            content
        )
    else:
        path.unlink()


def _export(rng: Random, folder: Path, bases: Path) -> list[str]:
    """Write a run in a form of another tool, or say something else of form and place."""
    name = rng.choice(sorted(RUNS))
    shutil.copytree(bases / name, folder / name)
    shutil.copy(bases / f"{name}.yaml", folder)
    forms = ("csv", "trace", "kineto", "chakra", "memory-snapshot", "latex", "kinetto", "")
    place = rng.choice((*_PLACES, name, f"{name}.yaml"))
    more = [
        *rng.choice(((), ("--force",), ("--columns", "mesh"), ("workload.batch=2",))),
        *(_given(rng, "--format", rng.choice(forms)) if rng.random() < 0.9 else ()),
        *(("-o", place) if rng.random() < 0.9 else ()),
    ]
    return ["export", rng.choice((name, f"{name}.yaml")), *more]


def _import(rng: Random, folder: Path, _bases: Path) -> list[str]:
    """Read a recipe of Megatron-LM or torchtitan, or a model, whose text was changed."""
    path = rng.choice(sorted((DATA / "recipes").iterdir()))
    text = path.read_text(encoding="utf-8")
    kind = "torchtitan" if path.suffix == ".toml" else "megatron"
    (folder / path.name).write_bytes(_either(rng, text))
    words = [path.name]
    if kind == "megatron" and rng.random() < 0.5:
        words = text.replace("\\\n", " ").split()
        for _ in range(rng.choice((1, 2, 5))):
            at = rng.randrange(len(words))
            words[at : at + 1] = rng.choice(([], [str(values.near(rng, words[at]))], ["--x", "1"]))
    more = (
        (), ("--json",), ("-o", "out.yaml"), ("--world-size", "64"), ("--world-size", "-1"),
        ("--topology", "h100-node"), ("--topology", "nowhere"), ("-o", "no/out.yaml"),
        ("--back", "tsp-layer"), ("--back", "nowhere"),
    )  # fmt: skip
    return ["import", kind, *words, *rng.choice(more)]


def _either(rng: Random, text: str) -> bytes:
    """Return a text as it is, or changed."""
    return text.encode() if rng.random() < 0.3 else texts.mutated(rng, text)
