"""Runs the fenced blocks of the documents, and gives a console block the outputs it has now.

The blocks of a Markdown file are run in order, in a scratch folder with copies of ``scenarios/``,
``topologies/`` and ``models/``:

- ``console``: lines that begin with ``$ `` are commands, the lines below each are its output. A
  line ``...`` stands for any lines. A command must succeed unless the next one is ``echo $?``.
  ``tspsim`` is one that has been imported already (docs/warm.py).
- ``sh``: run as they are, without the steps that set up an environment (``.ci/run`` runs those).
- ``python``: run as a program of its own.
- Any block whose first line is ``# file: NAME`` is not run but written to that file.

Blocks of other languages (``text``, ``yaml``...) are only read. docs/refresh.py writes what is
found, tests/test_docs.py compares.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import warm

TOP = Path(__file__).resolve().parent.parent
COPIED = ("scenarios", "topologies", "models", "calibration")

#: Steps of a shell block that set up an environment, or run the tests that run this.
_SETUP = re.compile(r"python3? -m venv|\. \.venv|pip install|\.venv/bin/(pip|pytest)|\.ci/run")
_FENCE = re.compile(r"^```(\w*)\s*$")
_FILE = re.compile(r"^# file: (\S+)$")


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
        for name, start in (("tspsim", warm.command(str(TOP))), ("python", sys.executable)):
            shim = self._shims / name
            shim.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
            shim.chmod(0o755)
        (self._shims / "python3").symlink_to("python")

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
