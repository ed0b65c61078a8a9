"""Text and bytes that are cut, flipped, doubled and spiked."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from tests.fuzzing.values import NUMBERS, TEXTS

#: YAML that asks for more than it says, and other things to put between lines or values.
SPIKES = (
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b]\nd: &d [*c, *c, *c, *c]\ne: [*d, *d, *d, *d, *d, *d]\n",
    "loop: &loop [*loop]\n", "loop: &l {a: *l}\n", "x: " + "[" * 2000 + "\n", "{" * 300,
    "x: " + "{a: " * 60 + "1" + "}" * 60 + "\n", "<<: {a: 1}\n", "? [a, b]\n: 1\n", "---\n",
    "...\n",
    "%YAML 1.1\n---\n", "%TAG ! tag:x,2000:\n---\n", "x: !!python/object:os.system {}\n",
    "x: !!binary aGk=\n", "x: !!set {a}\n", "x: !!timestamp 2001-01-01\n", "x: !!int abc\n",
    "x: !!float abc\n", "x: !!omap [a: 1]\n", "x: ! y\n", "\t\n", "  \tx: 1\n", "x: |\n  a\n b\n",
    "x: >+9\n", "x: *nowhere\n", "- a\n", "x: 0b12\n", "x: 0o9\n", "x: 1_000\n", "x: 1:30:00\n",
    "x: .nan\n", "x: -.inf\n", "x: ~\n", "'", '"', "#", ": ", "&", "*", "!", "\\",
    "\x00", "\x1b[2J",
    "\x07", "\x9b", "\ufeff", "\u2028", "\r", '"\\ud800"', '"\\x1b[31m"', '"\\u0000"', "\ud7ff",
)  # fmt: skip
_SCALAR = re.compile(r"(?<=[:,\[{] )[^\s,\[\]{}#][^,\[\]{}#\n]*")


def _span(rng: Random, text: str) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.choice((1, 1, 2, 5, 30, 200)))


def _cut(rng: Random, text: str) -> str:
    return text[: rng.randint(0, len(text))]


def _gap(rng: Random, text: str) -> str:
    start, end = _span(rng, text)
    return text[:start] + text[end:]


def _doubled(rng: Random, text: str) -> str:
    start, end = _span(rng, text)
    return text[:end] + text[start:end] * rng.choice((1, 1, 2, 50)) + text[end:]


def _flipped(rng: Random, text: str) -> str:
    start, _ = _span(rng, text)
    letter = chr(rng.choice((rng.randrange(128), rng.randrange(256), rng.randrange(0xD7FF))))
    return text[:start] + letter + text[start + 1 :]


def _spiked(rng: Random, text: str) -> str:
    start, _ = _span(rng, text)
    return text[:start] + rng.choice(SPIKES) + text[start:]


def _line_spiked(rng: Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    lines.insert(rng.randint(0, len(lines)), rng.choice(SPIKES))
    return "".join(lines)


def _lines_moved(rng: Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    moved = rng.choice(lines)
    if rng.random() < 0.5:
        lines.remove(moved)
    lines.insert(rng.randint(0, len(lines)), moved)
    return "".join(lines)


def _other_value(rng: Random, text: str) -> str:
    found = list(_SCALAR.finditer(text))
    if not found:
        return _spiked(rng, text)
    match = rng.choice(found)
    other = rng.choice(
        (rng.choice(TEXTS), str(rng.choice(NUMBERS)), rng.choice(found)[0], "[]", "{}")
    )
    return text[: match.start()] + other + text[match.end() :]


_CHANGES: tuple[Callable[[Random, str], str], ...] = (
    _cut, _gap, _doubled, _flipped, _flipped, _spiked, _line_spiked, _lines_moved, _other_value,
    _other_value, _other_value,
)  # fmt: skip


def mutated(rng: Random, text: str) -> bytes:
    """Return a text with one to three changes, as bytes; now and then these are no UTF-8."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(_CHANGES)(rng, text)
    encoding = rng.choice(("utf-8",) * 18 + ("utf-16", "latin-1"))
    found = text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    return damaged(rng, found) if rng.random() < 0.05 else found


def damaged(rng: Random, content: bytes) -> bytes:
    """Return bytes of which some are cut off, gone, zero, or others."""
    start = rng.randrange(len(content) + 1)
    end = start + rng.choice((1, 4, 100, 4096))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content[:start] + content[end:]
    if kind == 2:
        return content[:start] + bytes(min(end, len(content)) - start) + content[end:]
    if kind == 3:
        return rng.randbytes(rng.choice((0, 1, 100, 5000)))
    return content[:start] + rng.randbytes(end - start) + content[end:]
