"""Phrases: what a rank with two stages repeats, as people write it: ``F1 I1 W1``, three times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, cast

from tspsim.schedules.orders.actions import Action, Kind, Pair

#: How often, and what: a pass is its kind and which of the rank's stages; ``F0+B1`` is a pair; a
#: ``W`` without a stage is the weight gradients that have waited longest.
Phrase: TypeAlias = tuple[int, str]

#: A stage, and the first micro-batch that it takes.
Start: TypeAlias = tuple[int, int]


def spoken(phrases: Iterable[Phrase], first: Start, second: Start) -> Iterator[Action | Pair]:
    """Yield the actions of some phrases; each stage takes its micro-batches in order.

    Parameters
    ----------
    phrases : iterable of (int, str)
    first, second : (int, int)
        The stages of the rank, 0 and 1 in a phrase.
    """
    speaker = _Speaker((first, second))
    for times, phrase in phrases:
        for _ in range(times):
            yield from map(speaker.say, phrase.split())


class _Speaker:
    """Gives passes their micro-batches."""

    def __init__(self, starts: tuple[Start, Start]) -> None:
        self._stages = [stage for stage, _ in starts]
        # by stage: forwards, then backwards
        self._next = {stage: [microbatch, microbatch] for stage, microbatch in starts}
        self._waiting: list[tuple[int, int]] = []  # weight gradients, oldest first

    def say(self, word: str) -> Action | Pair:
        first, plus, second = word.partition("+")
        return Pair(self._pass(first), self._pass(second)) if plus else self._pass(first)

    def _pass(self, word: str) -> Action:
        kind = cast(Kind, word[0])
        if kind == "W":
            return Action(kind, *self._longest_waiting(word[1:]))
        stage = self._stages[int(word[1])]
        counts, which = self._next[stage], int(kind != "F")
        action = Action(kind, stage, counts[which])
        counts[which] += 1
        if kind == "I":
            self._waiting.append((stage, action.microbatch))
        return action

    def _longest_waiting(self, of: str) -> tuple[int, int]:
        stages = [self._stages[int(of)]] if of else self._stages
        found = next(which for which in self._waiting if which[0] in stages)
        self._waiting.remove(found)
        return found
