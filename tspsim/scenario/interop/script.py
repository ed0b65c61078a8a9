"""The command of a shell script that starts a training, with what its variables stand for.

Assignments, arrays and conditions between texts and numbers are followed in order, as a shell does
with an empty environment. What depends on anything else (files, commands, loops, functions) is left
out, and what would be assigned there is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile

from tspsim.files.characters import refused
from tspsim.scenario.interop.shell import Token, Values, cut, expand, tokens
from tspsim.scenario.interop.shell_tests import holds
from tspsim.scenario.interop.words import Word

_ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_SCRIPT = re.compile(r"^\s*(?:export\s+)?[A-Za-z_]\w*\+?=", re.MULTILINE)
_NODES = re.compile(r"^#SBATCH\s+(?:--nodes[= ]|-N\s*)(\d+)\s*(?:#.*)?$", re.MULTILINE)
#: What Slurm tells a job of its nodes.
_SLURM = ("SLURM_NNODES", "SLURM_JOB_NUM_NODES")
#: Characters of a value: one that doubles itself line by line is not followed further.
_MOST = 2**16
_DECLARES = frozenset({"export", "declare", "local", "readonly", "typeset"})
#: What begins what is not followed, and what ends it.
_BLOCKS = {"for": "done", "while": "done", "until": "done", "case": "esac", "{": "}"}
#: What ends a command on its line.
_ENDS = re.compile(r"&&?|\|[|&]?|[012&]?>.*|<|;")

Line = Sequence[Token]


def is_script(text: str) -> bool:
    """Whether a text assigns variables, as flags alone do not."""
    return _SCRIPT.search(text) is not None


def command(text: str, name: str) -> tuple[list[Word], list[str]]:
    """Return the words of the command that has most flags, and what is wrong, a line each."""
    nodes = _NODES.search(text)
    reading = _Reading({key: [Word(nodes[1], name)] for key in _SLURM} if nodes else {})
    for line in _lines(tokens(text, name)):
        reading.take(line)
    if not reading.commands:
        return [], [f"{name}: found no command that starts a program: torchrun ... pretrain_gpt.py"]
    found = max(reading.commands, key=_flags)
    told = ((word.place, refused(word.text, lines=False)) for word in found)
    return found, [f"{place}: {why}" for place, why in told if why]


def _flags(found: Iterable[Word]) -> int:
    return sum(word.text.startswith("--") for word in found)


def _lines(found: Iterator[Token]) -> Iterator[Line]:
    """Yield what stands between ends of lines and semicolons; an array ends with its bracket."""
    line: list[Token] = []
    depth = 0
    for token in found:
        if token.mark and token.text in "()":
            depth = max(0, depth + (1 if token.text == "(" else -1))
        if token.mark and token.text in ("\n", ";", ";;") and not depth:
            yield line
            line = []
        elif token.text != "\n":
            line.append(token)
    yield line


class _Reading:
    """What the lines so far have assigned, and the commands among them."""

    def __init__(self, values: Values) -> None:
        self.commands: list[list[Word]] = []
        self._values = values
        #: Of every condition that is open: whether its branch is taken (None: that is not known),
        #: and whether one of its branches was.
        self._ifs: list[tuple[bool | None, bool]] = []
        self._blocks: list[str] = []

    def take(self, line: Line) -> None:
        """Follow a line."""
        if not line or self._skips(line):
            return
        first, rest = line[0].text, line[1:]
        if first in ("if", "elif", "else", "fi", "then"):
            self._branch(first, rest)
        elif all(taken for taken, _ in self._ifs):
            self._do(line)
        elif any(taken is None for taken, _ in self._ifs):
            self._forget(line)

    def _skips(self, line: Line) -> bool:
        """Whether a line is of a loop, a case or a function: what it assigns is not known."""
        first = line[0].text
        function = first == "function" or [t.text for t in line[1:3]] == ["(", ")"]
        function = function and not _ASSIGNS.match(first)
        if self._blocks and first == self._blocks[-1]:
            self._blocks.pop()
            return True
        begins = _BLOCKS.get("{" if function else first)
        if begins and line[-1].text != begins:
            self._blocks.append(begins)
        if self._blocks:
            self._forget(line)
        return bool(begins or self._blocks)

    def _branch(self, word: str, rest: Line) -> None:
        """Go into a condition, to its next branch, or out of it."""
        if word == "then":
            self.take(rest)
            return
        if word == "if":
            self._ifs.append((taken := holds(rest, self._values), bool(taken)))
            return
        before, been = self._ifs.pop() if self._ifs else (None, False)
        if word == "fi":
            return
        taken = None if before is None else not been
        if word == "elif" and taken:
            taken = holds(rest, self._values)
        self._ifs.append((taken, been or bool(taken)))
        if word == "else":
            self.take(rest)

    def _forget(self, line: Line) -> None:
        for token in line:
            if found := _ASSIGNS.match(token.text):
                self._values.pop(found[1], None)

    def _do(self, line: Line) -> None:
        """Assign, and take what a command says."""
        declares = line[0].text in _DECLARES
        at = int(declares)
        while at < len(line):
            found = None if line[at].mark else _ASSIGNS.fullmatch(line[at].text)
            if found:
                at = self._assign(line, at, found)
            elif declares:
                at += 1
            else:
                self._command(line[at:])
                return

    def _assign(self, line: Line, at: int, found: re.Match[str]) -> int:
        """Take an assignment; return where the next word stands."""
        name, more, text = found.groups()
        before = self._values.get(name, []) if more else []
        if not text and [token.text for token in line[at + 1 : at + 2]] == ["("]:
            end = next((i for i in range(at, len(line)) if line[i].text == ")"), len(line))
            self._keep(name, [*before, *self._expanded(line[at + 2 : end])])
            return end + 1
        made = expand(Token(text, False, line[at].place), self._values)
        whole = "".join(word.text for word in before) + " ".join(word.text for word in made)
        unknown = next((word.open for word in (*before, *made) if word.open), "")
        self._keep(name, [Word(whole, line[at].place, unknown)])
        return at + 1

    def _keep(self, name: str, made: list[Word]) -> None:
        self._values[name] = made
        if sum(len(word.text) for word in made) > _MOST:
            del self._values[name]

    def _expanded(self, line: Line) -> list[Word]:
        found = (expand(token, self._values) for token in line if not token.mark)
        return list(chain.from_iterable(found))

    def _command(self, line: Line) -> None:
        if line[0].text in ("echo", "printf"):
            return
        ends = (i for i, token in enumerate(line) if token.mark and _ENDS.fullmatch(token.text))
        found = self._expanded(line[: next(ends, None)])
        whole = chain.from_iterable(map(_inside, found))
        said = list(takewhile(lambda word: not _ENDS.fullmatch(word.text), whole))
        if any(word.text.endswith(".py") for word in said) and _flags(said):
            self.commands.append(said)


def _inside(word: Word) -> list[Word]:
    """Return the words of a command that is one word, as `bash -c` takes it; else the word."""
    if ".py " not in word.text:
        return [word]
    return cut(word._replace(text=re.sub("['\"]", "", word.text)))
