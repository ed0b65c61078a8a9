"""Finds, in another rank's program, the op that meets an op: the same place on the same lane."""

from __future__ import annotations

from tspsim.program.types import Op, Program

#: What the ops on a lane have in common with those of other programs that they meet.
_Way = tuple[str, str, int]


class Partners:
    """Looks up ops that meet, program by program; what has been learnt of one is kept."""

    def __init__(self) -> None:
        self._ways: dict[int, dict[_Way, list[int]]] = {}
        self._places: dict[int, list[int]] = {}
        self._programs: list[Program] = []  # they are known by identity, so they are kept

    def find(self, program: Program, op: int, other: Program) -> int:
        """Return the index, in `other`, of the op that meets op `op` of `program`.

        Of a send it is the receive on the same channel, and the other way round.
        """
        self._learn(program)
        self._learn(other)
        collective, name, offset = _way(program, program.ops[op])
        if collective in ("send", "receive"):
            back = "receive" if collective == "send" else "send"
            return self._other_half(other, back, name, -offset)[self._places[id(program)][op]]
        if program is other:
            return op
        return self._ways[id(other)][collective, name, offset][self._places[id(program)][op]]

    def _other_half(self, other: Program, collective: str, channel: str, offset: int) -> list[int]:
        """Return the ops of the other halves; round a ring of n, -1 may be written n - 1."""
        ways = self._ways[id(other)]
        exact = ways.get((collective, channel, offset))
        if exact is not None:
            return exact
        found = [ops for way, ops in ways.items() if way[:2] == (collective, channel)]
        assert len(found) == 1  # more than one way round a channel names its offsets alike
        return found[0]

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
    lane, message = program.lanes[op.lane], op.message
    if message is not None and lane.channel:
        return message.collective, lane.channel, message.offset
    return "", lane.name, 0
