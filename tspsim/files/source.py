"""Reads a YAML or JSON file into plain values, and remembers where every value stands."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from tspsim.files.characters import refused
from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.reading import UnreadableError, read_text

#: Aliases may repeat values: a small file must not become a huge tree.
MAX_VALUES, MAX_DEPTH = 100_000, 40
#: Characters of a text whose nodes are kept: every shipped file has fewer.
KEPT = 32 * 1024

KeyPath = tuple[str | int, ...]


class AtKey(Problem):
    """A problem with a key itself: its place is the key's, not the value's."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A parsed file.

    Parameters
    ----------
    name : str
        The file as the user named it, for messages.
    data : object
        Plain mappings, lists and scalars (YAML 1.2: ``off`` is text, ``1e-5`` a number).
    """

    name: str
    data: Any
    _root: Node | None

    def place(self, path: KeyPath, *, key: bool = False) -> str:
        """Return ``file:line:column`` of a value, or of the nearest parent that exists.

        Parameters
        ----------
        path : tuple of str or int
        key : bool
            The place of the value's key instead of the value's own.
        """
        node = mark = self._root
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            mark, node = found if key or _is_blank(found[1]) else (found[1], found[1])
        if mark is None:
            return self.name
        return f"{self.name}:{mark.start_mark.line + 1}:{mark.start_mark.column + 1}"

    def has(self, path: KeyPath) -> bool:
        """Whether the file itself has a value at a path."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                inside = part in value
            else:
                inside = isinstance(value, list) and isinstance(part, int) and part < len(value)
            if not inside:
                return False
            value = value[part]
        return True

    def line(self, problem: Problem) -> str:
        """Return one line of a `ScenarioError`: place, path and message."""
        place = self.place(problem.path, key=isinstance(problem, AtKey))
        return f"{place}: {dotted(problem)}"


def dotted(problem: Problem) -> str:
    """Return ``a.b.0: message``."""
    path = ".".join(map(str, problem.path))
    return f"{path}: {problem.message}" if path else problem.message


def in_order(lines: Iterable[str]) -> list[str]:
    """Return lines that begin with places, each once, in the order of the places in each file."""

    def key(line: str) -> tuple[int, int, int]:
        match = re.match(r"(.*?):(\d+):(\d+): ", line)
        file, row, column = match.groups() if match else (line.partition(": ")[0], 0, 0)
        return files.setdefault(file, len(files)), int(row), int(column)

    files: dict[str, int] = {}
    return sorted(dict.fromkeys(lines), key=key)


def read(path: Path, name: str | None = None) -> Source:
    """Read and parse a file.

    Raises
    ------
    ScenarioError
        When it is not there, not a regular UTF-8 text file of at most 1 MiB, or not valid YAML.
    """
    name = name or str(path)
    try:
        text = read_text(path, name)
    except UnreadableError as error:
        raise ScenarioError([str(error)]) from None
    return parse(text, name)


def parse(text: str, name: str) -> Source:
    """Parse YAML 1.2 text (JSON is a part of it).

    Raises
    ------
    ScenarioError
        With the place of what is wrong.
    """
    try:
        root = (_kept if len(text) <= KEPT else _composed)(text)
    except YAMLError as error:
        raise ScenarioError([f"{name}{_syntax(error, text)}"]) from None
    except RecursionError:
        raise ScenarioError([f"{name}: nested too deeply"]) from None
    if root is None:
        return Source(name, None, None)
    duplicates = list(_duplicates(root, name))
    if duplicates:
        raise ScenarioError(in_order(duplicates))
    return Source(name, _Builder(name).value(root, 0), root)


class _Plain(YAML):
    """YAML without plug-ins, which are looked for on disk whenever one is made."""

    def official_plug_ins(self) -> list[str]:
        return []


def _yaml() -> YAML:
    yaml = _Plain(typ="safe", pure=True)
    yaml.constructor.yaml_constructors.pop("tag:yaml.org,2002:timestamp", None)
    return yaml


def _composed(text: str) -> Node | None:
    # Tabs are legal white space in JSON, which knows them nowhere else.
    plain = text.replace("\t", " ") if text.lstrip()[:1] == "{" else text
    with warnings.catch_warnings(action="ignore", category=ReusedAnchorWarning):  # YAML allows it
        root: Node | None = _yaml().compose(plain)
    return root


#: The nodes of a text, which nobody changes: the same few files are read again and again.
_kept = lru_cache(maxsize=16)(_composed)


def _syntax(error: YAMLError, text: str) -> str:
    """Return ``:line:column: message`` of a syntax error."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        column = error.position - (before.rfind("\n") + 1) + 1
        place = f":{before.count(chr(10)) + 1}:{column}"
        return f"{place}: not valid YAML: control character U+{ord(text[error.position]):04X}"
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        begin = error.context_mark if error.context_mark is not mark else None
        where = f" (it begins at {begin.line + 1}:{begin.column + 1})" if begin else ""
        hint = "; indent with spaces" if "'\\t'" in reason else ""
        return f"{place}: not valid YAML: {reason}{where}{hint}"
    return f": not valid YAML: {error}"


def _child(node: Node | None, part: str | int) -> tuple[Node, Node] | None:
    """Return the key node (or the value again, in a list) and the value node of a child."""
    if isinstance(node, MappingNode):
        return next(((k, v) for k, v in node.value if k.value == part), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _is_blank(node: Node) -> bool:
    """Whether a value is not there at all (``key:`` and nothing): its place says nothing."""
    return bool(node.start_mark.index == node.end_mark.index)


def _duplicates(root: Node, name: str) -> Iterator[str]:
    """Yield a line for every key that stands twice in one mapping, with both places."""
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in seen or not isinstance(node, MappingNode | SequenceNode):
            continue
        seen.add(id(node))
        children = [v for _, v in node.value] if isinstance(node, MappingNode) else node.value
        todo.extend(reversed(children))
        if isinstance(node, MappingNode):
            yield from _repeated(node, name)


def _repeated(node: MappingNode, name: str) -> Iterator[str]:
    first: dict[str, Node] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value in first:
            here, there = key.start_mark, first[key.value].start_mark
            yield (
                f"{name}:{here.line + 1}:{here.column + 1}: duplicate key '{key.value}' "
                f"(first at {there.line + 1}:{there.column + 1})"
            )
        first.setdefault(key.value, key)


def _kind(node: Node) -> str:
    """Return the type of a value that its tag names, without the prefix of YAML's own tags."""
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


class _Builder:
    """Turns YAML nodes into plain values, within limits."""

    def __init__(self, name: str) -> None:
        self._yaml, self._name, self._left = _yaml(), name, MAX_VALUES

    def value(self, node: Node, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise self._error(node, "nested too deeply, or too many values through aliases")
        if not isinstance(node, ScalarNode) and _kind(node) not in ("map", "seq"):
            raise self._error(node, f"tag '{node.tag}' is not allowed here")
        if isinstance(node, MappingNode):
            return {self._key(key): self.value(value, depth + 1) for key, value in node.value}
        if isinstance(node, SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise self._error(node, "a key must be a word")
        return self._text(node, lines=False)

    def _scalar(self, node: Node) -> Any:
        kind = _kind(node)
        if kind in ("str", "timestamp"):
            return self._text(node)
        if kind not in ("null", "bool", "int", "float"):
            raise self._error(node, f"tag '{node.tag}' is not allowed here")
        try:
            value = self._yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            raise self._error(node, f"'{node.value}' cannot be read as {kind}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"'{node.value}' is not a finite number")
        return value

    def _text(self, node: Node, *, lines: bool = True) -> str:
        # JSON escapes characters beyond U+FFFF as two surrogates: join them.
        text = str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if why := refused(text, lines=lines):
            raise self._error(node, why)
        return text

    def _error(self, node: Node, message: str) -> ScenarioError:
        mark = node.start_mark
        return ScenarioError([f"{self._name}:{mark.line + 1}:{mark.column + 1}: {message}"])
