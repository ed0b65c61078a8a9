"""Whether a condition of a shell script holds, where its text says so: ``[ "$TP" -gt 1 ]``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from tspsim.scenario.interop.flags import whole
from tspsim.scenario.interop.shell import Token, Values, expand

_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne, "-gt": operator.gt, "-ge": operator.ge,
    "-lt": operator.lt, "-le": operator.le,
}  # fmt: skip


def holds(line: Sequence[Token], values: Values) -> bool | None:
    """Return whether a condition holds; None: that cannot be said from the text.

    A variable that the script does not assign is empty, as it is without an environment.
    """
    found: bool | None = None
    how = ""
    begins = 0
    for at in range(len(line) + 1):
        if at < len(line) and not (line[at].mark and line[at].text in ("&&", "||")):
            continue
        one = _test(line[begins:at], values)
        if one is None:
            return None
        found = one if not how else found and one if how == "&&" else found or one
        how, begins = line[at].text if at < len(line) else "", at + 1
    return found


def _test(line: Sequence[Token], values: Values) -> bool | None:
    """Return whether what stands between two brackets holds."""
    plain = [token.text for token in line]
    if plain[:1] == ["!"]:
        other = _test(line[1:], values)
        return None if other is None else not other
    if plain[:1] not in (["["], ["[["]) or plain[-1:] not in (["]"], ["]]"]):
        return None
    said = [_said(token, values) for token in line[1:-1]]
    match said:
        case ["-z", str(text)]:
            return not text
        case ["-n", str(text)] | [str(text)]:
            return bool(text)
        case [str(left), str(how), str(right)] if how in _TEXTS:
            return _TEXTS[how](left, right)
        case [str(left), str(how), str(right)] if how in _NUMBERS:
            a, b = whole(left), whole(right)
            return None if a is None or b is None else _NUMBERS[how](a, b)
    return None


def _said(token: Token, values: Values) -> str | None:
    """Return what a word is; None: what a command prints is in it."""
    found = expand(token, values)
    if any(word.open.startswith(("$(", "`")) for word in found):
        return None
    return " ".join("" if word.open else word.text for word in found)
