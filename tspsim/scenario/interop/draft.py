"""A scenario in the making: its keys, where each comes from, and what was passed over."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tspsim.files.characters import printable
from tspsim.files.errors import ScenarioError
from tspsim.files.source import in_order

if TYPE_CHECKING:
    from tspsim.scenario.types import Scenario

#: Columns of a line of comment.
WIDTH = 100


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a scenario.

    Parameters
    ----------
    path : tuple of str
    value : object
    origin : str
        What of the other tool says it; empty: its default.
    place : str
        Where that stands.
    note : str
        What was made of it.
    flags : tuple of str
        Names of what says it.
    """

    path: tuple[str, ...]
    value: Any
    origin: str = ""
    place: str = ""
    note: str = ""
    flags: tuple[str, ...] = ()

    @property
    def comment(self) -> str:
        """Where it comes from, as a comment says it."""
        note = f"({self.note})" if self.note and self.origin else self.note
        return printable(" ".join(filter(None, (self.origin, note))), lines=False)


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that is no key of a scenario, and why."""

    origin: tuple[str, ...]
    why: str
    changes: bool

    @property
    def lines(self) -> list[str]:
        """It in lines of a comment."""
        parts = [printable(part, lines=False) for part in self.origin]
        return list(_packed([*parts, f"({self.why})"]))


@dataclass(frozen=True, slots=True)
class Draft:
    """A scenario that another tool's file makes.

    Parameters
    ----------
    head : tuple of str
        Lines of comment above it.
    keys : tuple of Key
    passed : tuple of Passed
    """

    head: tuple[str, ...]
    keys: tuple[Key, ...]
    passed: tuple[Passed, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The scenario as a mapping."""
        found: dict[str, Any] = {}
        for key in self.keys:
            _section(found, key.path[:-1])[key.path[-1]] = key.value
        return found

    def scenario(self) -> Scenario:
        """Return the scenario, checked and resolved.

        Raises
        ------
        ScenarioError
            With everything that is wrong, each with the place of what says it.
        """
        from tspsim.scenario.loader import from_document

        try:
            return from_document(self.document)
        except ScenarioError as error:
            lines = in_order(map(self._placed, error.lines))
            raise ScenarioError(lines) from None

    def _placed(self, line: str) -> str:
        """Return what is wrong with a key, with the place of what says it."""
        message = line.removeprefix("<document>: ")
        path = tuple(message.partition(":")[0].split("."))
        for length in range(len(path), 0, -1):
            made = [key for key in self.keys if key.path[:length] == path[:length] and key.place]
            if made:
                origin = f"{made[0].origin}: " if made[0].origin else ""
                return f"{made[0].place}: {origin}{message}"
        return message

    def yaml(self) -> str:
        """Return the scenario as YAML, with a comment at every key that has an origin."""
        from ruamel.yaml import YAML
        from ruamel.yaml.comments import CommentedMap, CommentedSeq

        root = CommentedMap()
        for key in self.keys:
            section = _section(root, key.path[:-1], CommentedMap)
            value = key.value
            if isinstance(value, list | tuple):
                value = CommentedSeq(value)
                value.fa.set_flow_style()
            section[key.path[-1]] = value
            if key.comment:
                section.yaml_add_eol_comment(key.comment, key.path[-1], column=0)
        writer, text = YAML(), io.StringIO()
        writer.width = 4096
        writer.dump(root, text)
        head = (f"# {printable(line, lines=False)}" for line in self.head)
        lines = [*head, text.getvalue().rstrip("\n")]
        return "\n".join([*lines, *self._tail()]) + "\n"

    def _tail(self) -> Iterator[str]:
        for changes, title in _TITLES.items():
            some = [each for each in self.passed if each.changes == changes]
            if some:
                yield from ("", f"# {title}")
                yield from (f"#   {line}" for each in some for line in each.lines)

    def told(self) -> list[str]:
        """Return what was passed over, in lines for people."""
        notes = [key for key in self.keys if key.note.startswith(_LESS)]
        found = [f"{'.'.join(key.path)}: {key.comment}" for key in notes]
        for changes, title in _TITLES.items():
            some = [each for each in self.passed if each.changes == changes]
            found += [title] if some else []
            found += [f"  {line}" for each in some for line in each.lines]
        return found


#: How a note begins that says what of a flag is not modelled.
_LESS = "not modelled"
_TITLES = {
    True: "Passed over, and not modelled:",
    False: "Passed over, as a step is the same without:",
}


def _section(root: Any, path: Iterable[str], make: Any = dict) -> Any:
    for part in path:
        if part not in root:
            root[part] = make()
        root = root[part]
    return root


def _packed(parts: Iterable[str]) -> Iterator[str]:
    """Yield lines of at most `WIDTH` columns, unless one part is longer."""
    line = ""
    for part in parts:
        if line and len(line) + len(part) + 5 > WIDTH:
            yield line
            line = part
        else:
            line = f"{line} {part}".strip()
    yield line


def grouped(passed: Iterable[tuple[str, str, bool]]) -> tuple[Passed, ...]:
    """Return what was passed over, from origins and reasons: together what has one reason."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for origin, why, changes in passed:
        groups.setdefault((why, changes), []).append(origin)
    return tuple(Passed(tuple(found), why, changes) for (why, changes), found in groups.items())
