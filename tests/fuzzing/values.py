"""Values that no one should write, and trees of values with some of them changed."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

#: Texts that have broken readers, terminals and pages before.
TEXTS = (
    "", " ", "\x00", "\x1b[31mred", "\x1b]0;title\x07", "a\rb", "a\nb", "\x7f", "\x85", "\u202eabc",
    "\ufeff", "\ud800", "é" * 50, "日本", "🚀", "x" * 5000, "../../x", "/", "~", "{}", "%s%n",
    "<script>alert(1)</script>", "'; DROP TABLE points; --", "null", "nan", "0x10", "1e400", "-",
    "$(true)", "[/bold]", "[red]", "a.b", "tsp", "auto", "datasheet", "1 GiB", "-1 GB/s", "1e400 s",
    "1e-400 s", "0 B", "1 parsec", "٣", "NaN GB/s", "1e300 B/s", "1e-300 B/s",
    "1e300 s", "1e-300 FLOP/s", "1e300 GiB", "1e20 s", "1e20 B/s",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 7, 1.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**63, 2**64, -(2**63), 10**9,
    10**30, 10**400,
)  # fmt: skip
CONTAINERS: tuple[Any, ...] = ([], {}, [[]], {"a": 1}, [None], {"": None}, [1, "a"], {"kind": {}})


def odd(rng: Random) -> Any:
    """Return a value of any type that hardly any key expects."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice((None, True, False))
    return copy.deepcopy(rng.choice((TEXTS, NUMBERS, CONTAINERS, TEXTS)[kind - 1]))


def near(rng: Random, value: Any) -> Any:
    """Return a value of the same type that is a little, or much, beside the one given."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, value * 2, value // 2, -value, float(value), 0))
    if isinstance(value, str):
        at = rng.randint(0, len(value))
        return rng.choice((value[:at], value + "x", value[:at] + rng.choice(TEXTS) + value[at:]))
    return odd(rng)


def spots(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a tree, the root left out."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += spots(value, (*path, key))
    return found


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return what stands at a path of a tree."""
    for part in path:
        tree = tree[part]
    return tree


def mutated(rng: Random, tree: Any) -> Any:
    """Return a copy of a tree with one of its values changed, gone, moved or joined by another."""
    changed = copy.deepcopy(tree)
    found = spots(changed) if isinstance(changed, dict | list) else []
    if not found:
        return odd(rng)
    *above, last = rng.choice(found)
    holder = at(changed, tuple(above))
    change = rng.randrange(6)
    if change == 0:
        del holder[last]
    elif change == 1:
        holder[last] = copy.deepcopy(at(changed, rng.choice(found)))
    elif change == 2 and isinstance(holder, dict):
        holder[str(odd(rng))[:200]] = holder.pop(last)
    else:
        holder[last] = odd(rng) if change < 5 else near(rng, holder[last])
    return changed
