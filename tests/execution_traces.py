"""Execution traces read and played without tspsim: bytes by hand, time by a small event loop.

Field numbers and wire types are typed in from Chakra's schema, not taken from the file that tspsim
ships. The event loop does what ASTRA-sim's workload layer does over its analytical network without
congestion: a rank computes one node at a time, is in one send or collective at a time, takes the
lowest id of those that are free, and replays a broadcast.
"""

from __future__ import annotations

import heapq
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMP, SEND, RECEIVE, COLLECTIVE = 4, 5, 6, 7
ALL_REDUCE, REDUCE, ALL_GATHER, BROADCAST, ALL_TO_ALL, REDUCE_SCATTER = 0, 1, 2, 5, 6, 7


@dataclass
class Node:
    """A node as it stands in a file."""

    id: int = 0
    name: str = ""
    type: int = 0
    deps: list[int] = field(default_factory=list)
    start: int = 0
    micros: int = 0
    said: dict[str, Any] = field(default_factory=dict)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        else:
            size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            yield key >> 3, data[at : at + size]
            at += size


def _attribute(data: bytes) -> tuple[str, Any]:
    found = dict(_fields(data))
    name = found.pop(1).decode()
    ((number, value),) = found.items()
    # double, int32, int64, uint64, bool, string: none of what is written is negative.
    read = {3: lambda b: struct.unpack("<d", b)[0], 7: int, 9: int, 13: int, 27: bool,
            29: bytes.decode}  # fmt: skip
    return name, read[number](value)


def _node(data: bytes) -> Node:
    node = Node()
    for number, value in _fields(data):
        if number in (4, 5):  # repeated numbers are packed
            at = 0
            while at < len(value):
                dep, at = _varint(value, at)
                node.deps.append(dep)
        elif number == 10:
            name, said = _attribute(value)
            node.said[name] = said
        else:
            name = {1: "id", 2: "name", 3: "type", 6: "start", 7: "micros"}[number]
            setattr(node, name, value.decode() if number == 2 else value)
    return node


def messages(path: Path) -> list[bytes]:
    """Return the messages of a file, each without its length."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        size, at = _varint(data, at)
        found.append(data[at : at + size])
        assert len(found[-1]) == size
        at += size
    return found


def nodes(path: Path) -> list[Node]:
    """Return the nodes of a file."""
    return [_node(data) for data in messages(path)[1:]]


def call_time(node: Node, members: int, alpha: float, beta: float) -> float:
    """Return the seconds of a collective round a ring: steps, each with a part of the message."""
    kind, size, steps = node.said["comm_type"], node.said["comm_size"], members - 1
    if kind in (BROADCAST, REDUCE):  # of the latter ASTRA-sim has nothing
        return float(node.said["seconds"])
    part = size if kind == ALL_GATHER else size / members
    return (2 * steps if kind == ALL_REDUCE else steps) * (alpha + part * beta)


def _message(node: Node) -> tuple[int, int, int]:
    """Return what a send and its receive have in common."""
    said = node.said
    return said["comm_src"], said["comm_dst"], said["comm_tag"]


class Replay:
    """Plays the traces of all ranks.

    Parameters
    ----------
    ranks : list of list of Node
    groups : dict of str to list of int
    alpha, beta : float
        Seconds of a message, and of a byte, on every link.
    """

    def __init__(
        self, ranks: list[list[Node]], groups: dict[str, list[int]], alpha: float, beta: float
    ) -> None:
        self._ranks = [{node.id: node for node in found} for found in ranks]
        self._groups, self._alpha, self._beta = groups, alpha, beta
        self._left = [{n.id: set(n.deps) for n in found} for found in ranks]
        self._after = [defaultdict(list) for _ in ranks]
        for rank, found in enumerate(ranks):
            for node in found:
                for dep in node.deps:
                    self._after[rank][dep].append(node.id)
        self._busy: set[tuple[int, str]] = set()
        self._calls: dict[str, list[tuple[int, Node]]] = defaultdict(list)
        self._ends: list[tuple[float, int, int]] = []
        #: By sender, receiver and tag: the receive that waits; None once the message has arrived.
        self._messages: dict[tuple[int, int, int], Node | None] = {}
        self._ready = [sorted(id_ for id_, deps in left.items() if not deps) for left in self._left]
        self.now, self.ended = 0.0, [dict[int, float]() for _ in ranks]

    def step_time(self) -> float:
        """Return the seconds until the last node of the last rank has ended."""
        self._issue(range(len(self._ranks)))
        while self._ends:
            self.now = self._ends[0][0]
            changed = set()
            while self._ends and self._ends[0][0] == self.now:
                _, rank, id_ = heapq.heappop(self._ends)
                changed.add(rank)
                self._end(rank, self._ranks[rank][id_])
            self._issue(sorted(changed))
        assert list(map(len, self.ended)) == list(map(len, self._ranks)), "some wait for ever"
        return self.now

    def _issue(self, ranks: Any) -> None:
        for rank in ranks:
            waiting = []
            for id_ in self._ready[rank]:
                node = self._ranks[rank][id_]
                slot = (rank, self._slot(node))
                if slot in self._busy:
                    waiting.append(id_)
                    continue
                if node.type != RECEIVE:
                    self._busy.add(slot)
                self._begin(rank, node)
            self._ready[rank] = waiting

    def _slot(self, node: Node) -> str:
        if node.said["is_cpu_op"]:
            return "host"
        return {COMP: "compute", RECEIVE: "none"}.get(node.type, "communication")

    def _begin(self, rank: int, node: Node) -> None:
        if node.type == COMP:
            self._later(node.said["seconds"], rank, node)
        elif node.type == COLLECTIVE:
            ranks = self._groups[node.said["pg_name"]]
            call = self._calls[node.said["pg_name"]]
            call.append((rank, node))
            if len(call) == len(ranks):
                for member, one in self._calls.pop(node.said["pg_name"]):
                    self._later(call_time(node, len(ranks), self._alpha, self._beta), member, one)
        elif node.type == SEND:
            self._later(self._alpha + node.said["comm_size"] * self._beta, rank, node)
        elif _message(node) in self._messages:
            self._later(0.0, rank, node)
        else:
            self._messages[_message(node)] = node

    def _later(self, seconds: float, rank: int, node: Node) -> None:
        heapq.heappush(self._ends, (self.now + seconds, rank, node.id))

    def _end(self, rank: int, node: Node) -> None:
        self.ended[rank][node.id] = self.now
        self._busy.discard((rank, self._slot(node)))
        if node.type == SEND:
            waiting = self._messages.get(_message(node))
            self._messages[_message(node)] = None
            if waiting is not None:
                self._later(0.0, node.said["comm_dst"], waiting)
        for id_ in self._after[rank][node.id]:
            left = self._left[rank][id_]
            left.discard(node.id)
            if not left:
                self._ready[rank] = sorted([*self._ready[rank], id_])
