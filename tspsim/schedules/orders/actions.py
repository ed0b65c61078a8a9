"""Actions: one pass of one micro-batch through one stage, and its short text form.

The text is that of ``torch.distributed.pipelining`` (2.13): stage, kind and micro-batch, ``3F0``.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias, cast

#: Forward; gradient of the input; gradients of the weights; both of them at once.
Kind: TypeAlias = Literal["F", "I", "W", "B"]
KINDS: tuple[Kind, ...] = ("F", "I", "W", "B")

_WRITTEN = re.compile(r"([0-9]{1,6})([FIWB])([0-9]{1,6})")
_PAIR = re.compile(r"\(([^;()]*);([^;()]*)\)OVERLAP_F_B")


class Action(NamedTuple):
    """One pass of one micro-batch through the layers of one stage.

    Attributes
    ----------
    kind : {"F", "I", "W", "B"}
        Forward, input gradient, weight gradients, or the whole backward: I and W at once.
    stage, microbatch : int
    """

    kind: Kind
    stage: int
    microbatch: int

    def __str__(self) -> str:
        """Return the text form: ``3F0``."""
        return f"{self.stage}{self.kind}{self.microbatch}"

    @property
    def backward(self) -> bool:
        """Whether it gives the gradient of the stage's input."""
        return self.kind in ("I", "B")

    @property
    def gives(self) -> Action:
        """What is there when it has ended: a whole backward gives the input gradient as I does."""
        return Action("I", self.stage, self.microbatch) if self.kind == "B" else self


class Pair(NamedTuple):
    """A forward and a backward of different micro-batches that a rank runs as one, interleaved.

    Attributes
    ----------
    forward, backward : Action
    """

    forward: Action
    backward: Action

    def __str__(self) -> str:
        """Return torch's text form: ``(0F7;7B3)OVERLAP_F_B``."""
        return f"({self.forward};{self.backward})OVERLAP_F_B"


def parse(text: str) -> Action | Pair:
    """Return what a text form stands for.

    Raises
    ------
    ValueError
        When it is none; the message says what is allowed.
    """
    if match := _WRITTEN.fullmatch(text):
        return Action(cast(Kind, match[2]), int(match[1]), int(match[3]))
    if match := _PAIR.fullmatch(text):
        return _pair(parse(match[1].strip()), parse(match[2].strip()))
    raise ValueError("an action is a stage, one of F, I, W, B, and a micro-batch: 3F0")


def _pair(first: Action | Pair, second: Action | Pair) -> Pair:
    if isinstance(first, Pair) or isinstance(second, Pair):
        raise ValueError("a pair within a pair")
    if first.kind != "F" or not second.backward:
        raise ValueError("a pair is a forward and a backward: (0F7;7B3)OVERLAP_F_B")
    return Pair(first, second)
