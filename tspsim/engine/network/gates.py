"""What the sends of a call wait for, as flat arrays.

Every member goes through the steps of its algorithm in order. It is through with a step when all
that it sends and receives in it is, and a send begins when both of its ends are through with their
earlier steps: what is forwarded has arrived, and the receiver has room for it, as in a hop of a
shift. Members that a delay has not reached yet go on.

A gate is one member's part in one step. It opens when the member is through with its steps before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.waves import Wave
from tspsim.engine.network.ragged import Integers

Small = NDArray[np.int32]  # there are millions of these


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """All sends of a call, step by step, those that leave from one gate together.

    Parameters
    ----------
    kind : ndarray of int32, shape (sends,)
        Place of a send among those of all waves, each counted once.
    sent_from, sent_to : ndarray of int32, shape (sends,)
        The gate of the sender and that of the receiver.
    incoming : ndarray of int32, shape (sends,)
        All sends, those that arrive at one gate together.
    first, count : ndarray of int32, shape (gates,)
        The sends that leave from a gate.
    arriving, arrivals : ndarray of int32, shape (gates,)
        The sends that arrive at a gate: where they stand in `incoming`, and how many they are.
    following : ndarray of int32, shape (gates,)
        The gate that opens when this one is passed; -1: it was the member's last.
    opening : ndarray of int
        The gates that are open from the start.
    """

    kind: Small
    sent_from: Small
    sent_to: Small
    incoming: Small
    first: Small
    count: Small
    arriving: Small
    arrivals: Small
    following: Small
    opening: Integers


def gates_of(waves: Sequence[Wave]) -> Gates:
    """Return the gates of some steps: every wave as often as it comes."""
    build = _Build()
    for wave in waves:
        build.add(wave)
    return build.gates()


class _Build:
    """Adds up waves to a layout."""

    def __init__(self) -> None:
        self._columns: list[tuple[Small, ...]] = [(_none(),) * 4]  # kind, from, to, incoming
        # first, count, arriving, arrivals, following
        self._gates: list[tuple[Small, ...]] = [(_none(),) * 5]
        self._kinds = self._sends = self._number = 0
        self._last: dict[int, int] = {}  # last gate so far, by member
        self._opening: list[int] = []
        self._joints: list[tuple[int, int]] = []  # gates of different waves that follow each other

    def add(self, wave: Wave) -> None:
        members, place = np.unique(np.concatenate([wave.source, wave.target]), return_inverse=True)
        n, m, times = len(wave.source), len(members), wave.times
        source, target = place[:n].astype(np.int32), place[n:].astype(np.int32)
        step = np.arange(times, dtype=np.int32)[:, None]
        sends, gate = step * np.int32(n), step * np.int32(m) + np.int32(self._number)
        kind = np.arange(self._kinds, self._kinds + n, dtype=np.int32)
        order = (np.argsort(target, kind="stable") + self._sends).astype(np.int32)
        self._columns.append(
            (np.tile(kind, times), _flat(gate, source), _flat(gate, target), _flat(sends, order))
        )
        leaving, arriving = (self._slices(ends, m) for ends in (source, target))
        following = _flat(gate, np.arange(m, 2 * m, dtype=np.int32))
        following[-m:] = -1
        self._gates.append(
            (
                _flat(sends, leaving[0]), np.tile(leaving[1], times),
                _flat(sends, arriving[0]), np.tile(arriving[1], times), following,
            )
        )  # fmt: skip
        self._join(members.tolist(), (times - 1) * m)
        self._kinds += n
        self._sends += n * times
        self._number += m * times

    def _slices(self, ends: Small, members: int) -> tuple[Small, Small]:
        """Return where the sends of every member begin when sorted by it, and how many they are."""
        count = np.bincount(ends, minlength=members).astype(np.int32)
        return (np.cumsum(count) - count + self._sends).astype(np.int32), count

    def _join(self, members: list[int], to_last: int) -> None:
        for gate, member in enumerate(members, self._number):
            if member in self._last:
                self._joints.append((self._last[member], gate))
            else:
                self._opening.append(gate)
            self._last[member] = gate + to_last

    def gates(self) -> Gates:
        kind, sent_from, sent_to, incoming = map(_joined, zip(*self._columns, strict=True))
        first, count, arriving, arrivals, following = map(_joined, zip(*self._gates, strict=True))
        if self._joints:
            earlier, later = np.array(self._joints).T
            following[earlier] = later
        opening = np.array(self._opening, dtype=np.int64)
        return Gates(
            kind, sent_from, sent_to, incoming, first, count, arriving, arrivals, following, opening
        )


def _none() -> Small:
    return np.empty(0, dtype=np.int32)


def _flat(rows: Small, columns: Small) -> Small:
    """Return the sums of every row and every column, row by row."""
    return (rows + columns).ravel()


def _joined(parts: tuple[Small, ...]) -> Small:
    some = [part for part in parts if part.size]
    return some[0] if len(some) == 1 else np.concatenate(parts)
