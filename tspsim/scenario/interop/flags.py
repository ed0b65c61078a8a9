"""What a flag of a command line takes, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Takes = Literal["nothing", "integer", "number", "word", "integers", "words"]
#: What becomes of a flag: a key of the scenario; nothing, as a step is the same without it;
#: nothing, although it is not; or no scenario at all.
Fate = Literal["mapped", "passed", "unmodelled", "refused"]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag.

    Parameters
    ----------
    takes : Takes
    default : object
        Its value where it is not given.
    choices : tuple of str
        The words that it takes; none: any.
    least : int
        Of the integers.
    fate : Fate
    why : str
        Why it is no key of the scenario.
    """

    takes: Takes = "nothing"
    default: Any = None
    choices: tuple[str, ...] = ()
    least: int = 0
    fate: Fate = "mapped"
    why: str = ""

    @property
    def one(self) -> bool:
        """Whether it takes one value."""
        return self.takes in ("integer", "number", "word")

    @property
    def many(self) -> bool:
        """Whether it takes any number of values."""
        return self.takes in ("integers", "words")

    def problem(self, values: tuple[str, ...]) -> str | None:
        """Return what is wrong with its values, if anything is."""
        if self.one and len(values) != 1:
            return f"found {_shown(values)}; takes one {self.takes}"
        if not self.one and not self.many and values:
            return f"found {_shown(values)}; takes no value"
        return next(filter(None, map(self._problem, values)), None)

    def _problem(self, text: str) -> str | None:
        if self.choices and text not in self.choices:
            return f"found '{text}'; allowed: {', '.join(self.choices)}"
        if self.takes in ("integer", "integers"):
            number = whole(text)
            if number is None or number < self.least:
                least = f" of at least {self.least}" if self.least else ""
                return f"found '{text}'; must be an integer{least}"
        if self.takes == "number" and real(text) is None:
            return f"found '{text}'; must be a number"
        return None

    def value(self, values: tuple[str, ...]) -> Any:
        """Return what its values mean; they have no `problem`."""
        if self.takes == "nothing":
            return True
        read = {"integer": int, "integers": int, "number": float}.get(self.takes, str)
        found = [read(text) for text in values]
        return found[0] if self.one else found


def whole(text: str) -> int | None:
    """Return an integer that a text is, of a size that a count can have."""
    try:
        found = int(text)
    except ValueError:
        return None
    return found if abs(found) < 2**53 else None


def real(text: str) -> float | None:
    """Return a finite number that a text is."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def named(fate: Fate, groups: dict[str, str]) -> dict[str, Flag]:
    """Return flags that become no key, from why -> their names.

    A name that ends in ``=`` takes a value, one that ends in ``*`` any number of them.
    """
    takes: dict[str, Takes] = {"=": "word", "*": "words"}
    return {
        word.rstrip("=*"): Flag(takes.get(word[-1], "nothing"), fate=fate, why=why)
        for why, words in groups.items()
        for word in words.split()
    }


def _shown(values: tuple[str, ...]) -> str:
    return f"'{' '.join(values)}'" if values else "nothing"
