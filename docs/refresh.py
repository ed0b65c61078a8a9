"""Writes everything in the documents that a command can make: outputs, figures and pictures.

Run it from the project's folder, with tspsim installed::

    python docs/refresh.py            # everything
    python docs/refresh.py --check    # write nothing; say what would change

Fenced blocks of a Markdown file are run in order, in a scratch folder with copies of
``scenarios/``, ``topologies/`` and ``models/``:

- ``console``: lines that begin with ``$ `` are commands, the lines below each are its output. A
  line ``...`` stands for any lines. A command must succeed unless the next one is ``echo $?``.
- ``sh``: run as they are, without the steps that set up an environment (``.ci/run`` runs those).
- ``python``: run as a program of its own.
- Any block whose first line is ``# file: NAME`` is not run but written to that file.

Blocks of other languages (``text``, ``yaml``...) are only read. tests/test_docs.py does the same
and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import listing

TOP = Path(__file__).resolve().parent.parent
COPIED = ("scenarios", "topologies", "models")

#: Steps of a shell block that set up an environment, or run the tests that run this.
_SETUP = re.compile(r"python3? -m venv|\. \.venv|pip install|\.venv/bin/(pip|pytest)|\.ci/run")
_FENCE = re.compile(r"^```(\w*)\s*$")
_FILE = re.compile(r"^# file: (\S+)$")
_FIGURES = re.compile(r"(<!-- figures: [^>]*-->\n).*?(<!-- end of figures -->)", re.DOTALL)

#: Pictures of the documents: file, scenario with overrides, plot.
PICTURES = {
    "tsp-layer-gantt.png": (("tsp-layer",), "gantt"),
    "tsp-layer-memory.png": (("tsp-layer",), "memory"),
}


class Block(NamedTuple):
    """A fenced block: its language, its lines, and the line that its content begins at."""

    language: str
    lines: tuple[str, ...]
    first: int

    @property
    def file(self) -> str | None:
        """The file that it is written to, if it names one."""
        match = _FILE.match(self.lines[0]) if self.lines else None
        return match[1] if match else None


def documents() -> list[Path]:
    """Return the documents whose blocks are run."""
    return [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown text."""
    language: str | None = None
    held: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, held = fence[1], []
        elif language is not None and line == "```":
            yield Block(language, tuple(held), number - len(held))
            language = None
        elif language is not None:
            held.append(line)


class Sandbox:
    """A scratch folder in which the blocks of one document run one after another.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(TOP / name, folder / name)
        self._shims = folder / ".bin"
        self._shims.mkdir()
        for name, start in (("tspsim", "-m tspsim"), ("python", ""), ("python3", "")):
            shim = self._shims / name
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} {start} "$@"\n')
            shim.chmod(0o755)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self._shims), os.environ.get("PATH", "")])
        plain = {"COLUMNS": "80", "NO_COLOR": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(TOP)}
        return subprocess.run(
            command, cwd=self.folder, env={**os.environ, **plain, "PATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip

    def console(self, block: Block) -> list[tuple[str, str]]:
        """Run the commands of a console block; return each with what it printed."""
        commands = [line[2:] for line in block.lines if line.startswith("$ ")]
        marked = "".join(f"{c}\n__code=$?; printf '\\036%d\\n' $__code; (exit $__code)\n"
                         for c in commands)  # fmt: skip
        done = self._run(["bash", "-c", marked])
        *parts, _ = re.split(r"\x1e(\d+)\n", done.stdout)
        outputs, codes = parts[::2], parts[1::2]
        for number, (command, code) in enumerate(zip(commands, codes, strict=True)):
            expected = commands[number + 1 : number + 2] == ["echo $?"]
            if code != "0" and not expected:
                raise RuntimeError(f"exit code {code}: {command}\n{outputs[number]}")
        return list(zip(commands, outputs, strict=True))

    def run(self, block: Block) -> str:
        """Run a block that is no console block, or write its file; return what it printed."""
        text = "\n".join(block.lines) + "\n"
        if block.file:
            target = self.folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("\n".join(block.lines[1:]) + "\n", encoding="utf-8")
            return ""
        if block.language == "sh":
            steps = [step.strip() for line in block.lines for step in line.split("&&")]
            text = "\n".join(step for step in steps if not _SETUP.match(step))
        elif block.language != "python":
            return ""
        starter = ["bash", "-euc", text] if block.language == "sh" else [sys.executable, "-c", text]
        done = self._run(starter)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}:\n{text}\n{done.stdout}")
        return done.stdout


def matches(expected: str, found: str) -> bool:
    """Say whether an output is the expected one, in which a line ``...`` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", expected, flags=re.MULTILINE)]
    return re.fullmatch(r"(?:.*\n)*?".join(parts), found) is not None


def expected(block: Block) -> list[str]:
    """Return the output that a console block shows below each of its commands."""
    found: list[list[str]] = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append([])
        else:
            found[-1].append(line)
    return ["".join(f"{line}\n" for line in lines) for lines in found]


def renewed(block: Block, ran: list[tuple[str, str]]) -> list[str]:
    """Return the lines of a console block with outputs that are right."""
    lines = []
    for (command, found), shown in zip(ran, expected(block), strict=True):
        text = shown if matches(shown, found) else found
        lines += [f"$ {command}", *text.splitlines()]
    return lines


def with_outputs(text: str, folder: Path) -> str:
    """Return a document with the outputs that its commands have now."""
    sandbox, lines, shift = Sandbox(folder), text.splitlines(), 0
    for block in blocks(text):
        if block.language != "console":
            sandbox.run(block)
            continue
        new = renewed(block, sandbox.console(block))
        start = block.first - 1 + shift
        lines[start : start + len(block.lines)] = new
        shift += len(new) - len(block.lines)
    return "\n".join(lines) + "\n"


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
    if "sweep" in measured:
        sweep = measured["sweep"]
        rows["a sweep of 1,000 such steps of 8 ranks, 2 processes"] = f"{sweep['seconds']:.0f} s"
    if "plan" in measured:
        rows["`tspsim plan`, Llama-3-70B on 64 H100"] = f"{measured['plan']['seconds']:.0f} s"
    body = "".join(f"| {what} | {value} |\n" for what, value in rows.items())
    return f"| what | measured |\n|---|---|\n{body}"


def with_figures(text: str) -> str:
    """Return the README with the figures of benchmarks/results.json."""
    results = TOP / "benchmarks" / "results.json"
    measured = json.loads(results.read_text(encoding="utf-8"))
    return _FIGURES.sub(lambda m: f"{m[1]}{figures(measured)}{m[2]}", text)


def draw(folder: Path) -> None:
    """Draw the pictures of the documents into a folder."""
    import tspsim
    from tspsim.calibrate.published.write import pictures as profile_pictures
    from tspsim.output.pictures import draw as draw_one

    known = {}
    for name, ((scenario, *overrides), kind) in PICTURES.items():
        key = (scenario, *overrides)
        if key not in known:
            known[key] = tspsim.run(TOP / "scenarios" / f"{scenario}.yaml", *overrides)
        draw_one(kind, known[key], folder / name)
    profile_pictures(TOP / "published", folder)
    draw_goodput(folder / "goodput.png")


def draw_goodput(path: Path) -> None:
    """Draw the goodput of the job that docs/disturbances.md describes."""
    from tspsim.files.source import parse
    from tspsim.reports.goodput_plot import draw as draw_found
    from tspsim.runs.goodput import goodput
    from tspsim.scenario import from_document

    text = (TOP / "docs" / "disturbances.md").read_text(encoding="utf-8")
    (job,) = (block for block in blocks(text) if block.file == "job.yaml")
    draw_found(goodput(from_document(parse("\n".join(job.lines), "job.yaml").data)), path)


def main() -> int:
    """Renew the documents and draw their pictures."""
    parser = argparse.ArgumentParser(description="Renew what commands make in the documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on changes")
    check = parser.parse_args().check
    changed = []
    for path in documents():
        old = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            new = with_outputs(old, Path(folder))
        if path.name == "README.md":
            new = with_figures(new)
        if path == listing.PAGE:
            new = listing.renewed(new)
        if new != old:
            changed.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    if not check:
        draw(TOP / "docs" / "images")
    for path in changed:
        print(f"{'would change' if check else 'renewed'}: {path.relative_to(TOP)}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
