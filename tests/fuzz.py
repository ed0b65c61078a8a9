"""The fuzz run: ``python -m tests.fuzz --inputs 10000 --seed 1 --report docs/reliability.md``.

Every input follows from the seed and its number: ``--only 1234 --seed 1`` plays one again, and
with ``--keep DIR`` leaves its files there. What is asked of every input is in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter

from tests.fuzzing import bases, crew, inputs, judge, report
from tests.fuzzing.inputs import Outcome


def main(given: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 when anything was found."""
    asked = _parser().parse_args(given)
    with tempfile.TemporaryDirectory(prefix="fuzz-run-") as scratch:
        there = Path(scratch) / "bases"
        there.mkdir()
        crew.at_home()
        bases.make(there)
        if asked.keep is not None and asked.only is not None:
            return _kept(asked.seed, asked.only, asked.keep, there)
        numbers = range(asked.inputs) if asked.only is None else [asked.only]
        outcomes = _played(crew.play(asked.seed, numbers, asked.processes, there), len(numbers))
    print(report.table(outcomes))
    print(report.findings(outcomes), end="")
    if asked.report is not None:
        report.renew(asked.report, outcomes, asked.seed)
    return int(any(outcome.faults for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz tspsim.")
    parser.add_argument("--inputs", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="play one input again")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="with --only: leave its files there"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="renew the table in a document")
    return parser


def _played(outcomes: Iterable[Outcome], count: int) -> list[Outcome]:
    """Return all outcomes in the order of their numbers; say on the way how far it is."""
    found: list[Outcome] = []
    begin = perf_counter()
    for outcome in outcomes:
        found.append(outcome)
        if len(found) % 500 == 0 or len(found) == count:
            wrong = sum(bool(each.faults) for each in found)
            spent = perf_counter() - begin
            print(f"{len(found)} of {count}: {wrong} with faults, {spent:.0f} s", file=sys.stderr)
    return sorted(found, key=lambda outcome: outcome.number)


def _kept(seed: int, number: int, folder: Path, there: Path) -> int:
    """Leave the files of one input in a folder, play it in this process, and print all it says."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, case = inputs.make(seed, number, folder, there)
    done = judge.play(case.words, folder)
    print(
        f"{kind}: tspsim {' '.join(case.words)}\n{done.out}{done.said}exit {done.code} {done.fault}"
    )
    return int(any(judge.faults(case.words, done)))


if __name__ == "__main__":
    sys.exit(main())
