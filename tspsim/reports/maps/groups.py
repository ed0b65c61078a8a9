"""What the rows of a sweep are told apart by: the strategies that compete, or another axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tspsim.files.errors import UserError, did_you_mean
from tspsim.output.plots.style import BLUE, DARK, GREEN, ORANGE, PURPLE, SKY, VERMILLION, YELLOW
from tspsim.sweeps.store import Row, Store
from tspsim.sweeps.values import label, number

#: Axes that say which strategy it is; the mesh of a row tells more than they do.
STRATEGY = ("strategy", "strategy.kind")
#: What a mesh shows already of the keys of a whole strategy.
_SHOWN = frozenset({"kind", "degree", "tp", "sp", "dp"})
#: How groups are drawn: colour, marker, line.
LOOKS = (
    (BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":"),
    (SKY, "v", "-"), (VERMILLION, "P", "--"), (YELLOW, "X", "-."), (DARK, "*", ":"),
)  # fmt: skip


class Look(NamedTuple):
    """How a group is drawn: told apart by colour, and by marker and line without colour."""

    colour: str
    marker: str
    line: str


def varying(rows: Sequence[Row], keys: Iterable[str]) -> list[str]:
    """Return the axes with more than one value; what a strategy does not have is none."""
    told = {key: {label(row.axes[key]) for row in rows if row.axes.get(key) is not None}
            for key in keys}  # fmt: skip
    return [key for key, values in told.items() if len(values) > 1]


def axis(store: Store, key: str) -> str:
    """Return the key of an axis, which may be given by its last words alone.

    Raises
    ------
    UserError
        When there is no such axis, or there are several.
    """
    keys = [info.key for info in store.axes]
    found = [each for each in keys if each == key or each.endswith(f".{key}")]
    if key in keys:
        return key
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"'{key}' may be {' or '.join(found)}: write it out")
    guess = did_you_mean(key, [*keys, *(k.rpartition(".")[2] for k in keys)])
    raise UserError(f"'{key}' is no axis of this sweep{guess}; its axes: {', '.join(keys)}")


def default_by(rows: Sequence[Row], keys: Sequence[str]) -> tuple[str, ...]:
    """Return what rows are told apart by where nobody says it: all that makes a strategy."""
    options = [key for key in varying(rows, keys) if key.split(".")[0] == "strategy"]
    meshes = {row.figures["mesh"] for row in rows if row.figures}
    return (("mesh",) if len(meshes) > 1 else ()) + tuple(options)


def name(row: Row, by: Sequence[str]) -> str:
    """Return the group of a row, such as ``"tsp 8"`` or ``"tp 8, sequence_parallel"``.

    Where both the mesh and the kind of strategy are asked for, the mesh alone shows the kind.
    """
    words = list(_words(row, by))
    return ", ".join(words) or row.figures.get("mesh", "")


def _words(row: Row, by: Sequence[str]) -> Iterator[str]:
    for key in by:
        value = row.cell(key)
        if isinstance(value, Mapping):
            shown = _SHOWN if "mesh" in by else _SHOWN - {"kind"}
            rest = {k: v for k, v in value.items() if k not in shown}
            if "mesh" in by and isinstance(rest.get("pp"), Mapping):  # it shows the stages
                rest |= {k: v for k, v in rest.pop("pp").items() if k != "stages"}
            yield from (_word(k, v) for k, v in rest.items())
        elif key == "mesh" or (key in STRATEGY and "mesh" not in by):
            yield str(value)
        elif key not in STRATEGY and value is not None:
            yield _word(key, value)


def _word(key: str, value: Any) -> str:
    last = key.rpartition(".")[2]
    if isinstance(value, bool):
        return last if value else f"no {last}"
    return label(value) if number(value) is None and key.count(".") else f"{last} {label(value)}"


def looks(rows: Iterable[Row], by: Sequence[str]) -> dict[str, Look]:
    """Return how every group is drawn, in the order of the study.

    Raises
    ------
    UserError
        When there are more than can be told apart.
    """
    names = list(dict.fromkeys(name(row, by) for row in rows if row.figures))
    if len(names) > len(LOOKS):
        raise UserError(
            f"{len(names)} groups ({', '.join(names[:3])}...); at most {len(LOOKS)} can be told "
            "apart: keep some with --at KEY=VALUE, or join them with --by KEY"
        )
    return {each: Look(*look) for each, look in zip(names, LOOKS, strict=False)}
