"""Filters: comparisons of an axis' values that say which points of a grid are wanted.

An expression is parsed by Python's own parser and then walked by hand: numbers, quantities in
quotes, keys, arithmetic, comparisons, ``and``, ``or``, ``not``, ``in``. Nothing else is allowed,
and nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import UserError
from tspsim.sweeps.values import number

#: What a key is at one point; raises `KeyError` for a key that is not known.
Lookup = Callable[[str], Any]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


class _NotApplicableError(Exception):
    """A filter names an option that the point's strategy does not have."""


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """One expression.

    Parameters
    ----------
    text : str
        As written.
    """

    text: str
    _tree: ast.expr

    @classmethod
    def read(cls, text: str) -> Filter:
        """Return the filter of a text.

        Raises
        ------
        UserError
            When it is no expression, or more than comparisons and arithmetic.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UserError(f"filter '{text}': is no expression{_HINT}") from None
        for node in _foreign(tree):
            shown = ast.unparse(node)
            raise UserError(f"filter '{text}': '{shown}' is not allowed{_HINT}")
        return cls(text, tree)

    def keys(self) -> Iterator[str]:
        """Yield the dotted keys that it compares."""
        yield from _names(self._tree)

    def keeps(self, lookup: Lookup) -> bool:
        """Say whether a point is wanted.

        A filter about an option that the point's strategy does not have keeps the point.

        Raises
        ------
        UserError
            When values cannot be compared.
        """
        try:
            return bool(_value(self._tree, lookup))
        except _NotApplicableError:
            return True
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise UserError(f"filter '{self.text}': {error}") from None


_HINT = "; write for example 'workload.sequence * workload.batch <= 1048576'"


def _foreign(tree: ast.expr) -> Iterator[ast.AST]:
    """Yield what is no comparison and no arithmetic."""
    allowed = (
        ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Constant, ast.Name, ast.Attribute,
        ast.List, ast.Tuple, ast.boolop, ast.unaryop, ast.cmpop, ast.operator, ast.Load,
    )  # fmt: skip
    for node in ast.walk(tree):
        if not isinstance(node, allowed) or not _is_allowed(node):
            yield node


def _is_allowed(node: ast.AST) -> bool:
    """Say whether an operation is one of those that have a meaning here."""
    if isinstance(node, ast.BinOp):
        return type(node.op) in _ARITHMETIC
    if isinstance(node, ast.Compare):
        return all(type(op) in _COMPARISONS for op in node.ops)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.USub)
    return not isinstance(node, ast.Attribute) or _dotted(node) is not None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := _dotted(node.value)):
        return f"{inner}.{node.attr}"
    return None


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield str(_dotted(node))
        return
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _value(node: ast.expr, lookup: Lookup) -> Any:
    if isinstance(node, ast.Constant):
        return _si(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        found = _si(lookup(str(_dotted(node))))
        if found is None:
            raise _NotApplicableError
        return found
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each, lookup) for each in node.elts]
    if isinstance(node, ast.BoolOp):
        values = (_value(each, lookup) for each in node.values)
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, lookup)
        return not inner if isinstance(node.op, ast.Not) else -inner
    if isinstance(node, ast.BinOp):
        sides = _value(node.left, lookup), _value(node.right, lookup)
        return _ARITHMETIC[type(node.op)](*sides)
    assert isinstance(node, ast.Compare)
    return _compared(node, lookup)


def _compared(node: ast.Compare, lookup: Lookup) -> bool:
    left = _value(node.left, lookup)
    for operation, other in zip(node.ops, node.comparators, strict=True):
        right = _value(other, lookup)
        if not _COMPARISONS[type(operation)](left, right):
            return False
        left = right
    return True


def _si(value: Any) -> Any:
    """Return a quantity as a float in SI units, and anything else as it is."""
    found = number(value)
    return found[0] if found else value
