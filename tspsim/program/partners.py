"""Finds, in another rank's program, the op that meets an op.

It has the same place on the same lane; the other half of a hop has it on the same channel.
"""

from __future__ import annotations

from tspsim.program.types import Op, Program

#: Whose ops on what: a half of a hop on a channel, or ``""`` and the name of a lane.
_Way = tuple[str, str]

_OTHER = {"send": "receive", "receive": "send", "": ""}


class Partners:
    """Looks up ops that meet, program by program; what has been learnt of one is kept."""

    def __init__(self) -> None:
        self._ways: dict[int, dict[_Way, list[int]]] = {}
        self._places: dict[int, list[int]] = {}
        self._programs: list[Program] = []  # they are known by identity, so they are kept

    def find(self, program: Program, op: int, other: Program) -> int:
        """Return the index, in another rank's program, of the op that meets op `op` of this one.

        Of a send it is the receive on the same channel, and the other way round.
        """
        half, name = _way(program, program.ops[op])
        if program is other and not half:
            return op
        self._learn(program)
        self._learn(other)
        return self._ways[id(other)][_OTHER[half], name][self._places[id(program)][op]]

    def _learn(self, program: Program) -> None:
        if id(program) in self._ways:
            return
        ways: dict[_Way, list[int]] = {}
        places = []
        for op in program.ops:
            mates = ways.setdefault(_way(program, op), [])
            places.append(len(mates))
            mates.append(op.index)
        self._ways[id(program)], self._places[id(program)] = ways, places
        self._programs.append(program)


def _way(program: Program, op: Op) -> _Way:
    return op.half or ("", program.lanes[op.lane].name)
