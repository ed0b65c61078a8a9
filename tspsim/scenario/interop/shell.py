"""Words of a shell as it reads them: tokens, and what variables in them stand for.

Only what stands in the text itself is known: values that are assigned, defaults, sums of integers.
What a command prints, and what the environment holds, is not; such a word keeps its variable.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import NamedTuple

from tspsim.scenario.interop.words import Word

_INNER = r"(?:[^(){}]|\([^()]*\)|\{[^{}]*\}){0,2000}"  # what is longer is no value
_QUOTED = r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\."""
_VALUE = rf"\$\(\({_INNER}\)\)|\$\({_INNER}\)|\$\{{{_INNER}\}}|`[^`]*`"
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r]|\\\n)+)|(?P<comment>\#[^\n]*)
    |(?P<mark>\n|;;|;|[012&]?>>?|&&|\|\||\||&|\(|\)|<)
    |(?P<word>(?:{_QUOTED}|{_VALUE}|[^\s'"\\;&|()<>`])+)|(?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)
_HERE = re.compile(r"""<<-?[ \t]*(['"]?)(\w+)\1[^\n]*\n.*?^[ \t]*\2[ \t]*$""", re.DOTALL | re.M)
_PIECE = re.compile(
    rf"(?P<single>'[^']*')|(?P<double>\"(?:[^\"\\]|\\.)*\")|(?P<escaped>\\.)"
    rf"|(?P<value>{_VALUE}|\$\w+|\$[@*#?$!])|(?P<plain>.)",
    re.DOTALL,
)
_UNKNOWN = re.compile(rf"{_VALUE}|\$\w+")
_NAMED = re.compile(r"\$?\{?(\w+|@|\*)(\[[@*]\])?(?:(:?[-=+])(.*))?\}?", re.DOTALL)

#: Values by name: a text, or the words of an array.
Values = MutableMapping[str, list[Word]]


class Token(NamedTuple):
    """A word as it is written, or a mark between words, and where it begins."""

    text: str
    mark: bool
    place: str


def tokens(text: str, name: str) -> Iterator[Token]:
    """Yield the tokens of a script; what is fed to a command (``<<EOF``) is left out."""
    text = _HERE.sub(lambda found: "\n" * found[0].count("\n"), text)
    line, begins = 1, 0
    for found in _TOKEN.finditer(text):
        kind, at = found.lastgroup, found.start()
        if kind in ("mark", "word", "rest"):
            yield Token(found[0], kind == "mark", f"{name}:{line}:{at - begins + 1}")
        if feeds := found[0].count("\n"):
            line, begins = line + feeds, text.rfind("\n", 0, found.end()) + 1


def expand(token: Token, values: Values) -> list[Word]:
    """Return the words that a token stands for: none, one, or many."""
    made = _Made(token.place)
    for piece in _PIECE.finditer(token.text):
        kind, text = piece.lastgroup, piece[0]
        if kind == "single":
            made.add(text[1:-1])
        elif kind == "double":
            _quoted(text[1:-1], values, made)
        elif kind == "value":
            made.split(_value(text, token.place, values), text)
        else:
            made.add(text[1:] if kind == "escaped" else text)
    return made.words()


def cut(word: Word) -> list[Word]:
    """Return the words into which one falls at blanks, each with the variable that is in it.

    What only a shell knows is not taken apart.
    """
    if not word.open:
        return [word._replace(text=text) for text in word.text.split()]
    whole = _UNKNOWN.sub(lambda found: re.sub(r"\s", "\0", found[0]), word.text)
    texts = [text.replace("\0", " ") for text in whole.split()]
    opens = [_UNKNOWN.search(text) for text in texts]
    return [
        word._replace(text=text, open=found[0] if found else "")
        for text, found in zip(texts, opens, strict=True)
    ]


def _quoted(text: str, values: Values, made: _Made) -> None:
    """Add what stands in double quotes: one word, but for all words of an array."""
    if not text.endswith("[@]}"):
        made.add("")
    for piece in _PIECE.finditer(text.replace("'", "\0")):
        kind, found = piece.lastgroup, piece[0].replace("\0", "'")
        if kind == "value":
            known = _value(found, made.place, values)
            made.spread(known, found) if found.endswith("[@]}") else made.join(known, found)
        else:
            made.add(re.sub(r"\\\n|\\([\"$`\\])", r"\1", found))


class _Made:
    """The words that come of a token, the last of which grows."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._done: list[Word] = []
        self._text: str | None = None
        self._open = ""

    def add(self, text: str) -> None:
        self._text = (self._text or "") + text

    def join(self, known: list[Word] | None, written: str) -> None:
        """Add a value to the word; one that is not known stays as it is written."""
        if known is None:
            self._open = self._open or written
        self.add(written if known is None else " ".join(word.text for word in known))
        self._open = next((w.open for w in known or () if w.open), self._open)

    def split(self, known: list[Word] | None, written: str) -> None:
        """Add a value that begins new words where it has blanks."""
        if known is None:
            self.join(None, written)
            return
        self.spread([part for word in known for part in cut(word)], written)

    def spread(self, known: list[Word] | None, written: str) -> None:
        """Add words, of which the first ends the one that is begun."""
        if known is None:
            self.join(None, written)
            return
        for at, word in enumerate(known):
            if at:
                self._end()
            if self._text is None:
                self.place = word.place
            self.join([word], written)

    def _end(self) -> None:
        if self._text:
            self._done.append(Word(self._text, self.place, self._open))
        self._text, self._open = None, ""

    def words(self) -> list[Word]:
        """Return all words; one that was quoted may be empty."""
        if self._text is not None:
            self._done.append(Word(self._text, self.place, self._open))
        return self._done


def _value(text: str, place: str, values: Values) -> list[Word] | None:
    """Return what a variable, or a sum, is; None: only a shell knows it."""
    if text.startswith("$(("):
        number = _sum(text[3:-2], values)
        return None if number is None else [Word(str(number), place)]
    found = None if text.startswith(("$(", "`")) else _NAMED.fullmatch(text.removesuffix("}"))
    if found is None:
        return None
    name, _, how, other = found.groups()
    if name in ("@", "*"):
        return []
    known = values.get(name)
    has = known is not None and (any(word.text for word in known) or not (how or "").count(":"))
    if how and (how[-1] == "+") == has:
        known = expand(Token(other, False, place), values)
        if how[-1] == "=":
            values[name] = known
    return [] if how and how[-1] == "+" and not has else known


_WAYS: Mapping[type, Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def _sum(text: str, values: Values) -> int | None:
    """Return the integer that an expression is."""
    words = [word.text for word in expand(Token(text, False, ""), values)]
    names = {name: "".join(w.text for w in found) for name, found in values.items()}
    plain = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m[0], "?"), "".join(words))
    try:
        with warnings.catch_warnings(action="ignore"):  # of numbers as Python would not write them
            return _number(ast.parse(plain.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, KeyError):
        return None


def _number(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_number(inner)
        case ast.BinOp(left=left, op=way, right=right):
            found = _WAYS[type(way)](_number(left), _number(right))
            if abs(found) < 2**63:
                return found
    raise ValueError(ast.dump(node))
