"""What a critical path consists of: stretches of time, each with the one thing that limits it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from math import fsum
from typing import Literal, NamedTuple, TypeVar

import networkx as nx

from tspsim.program.types import Op

#: What limits a stretch of time. ``compute``: the device's flop rate; ``memory``: its memory
#: bandwidth; ``launch``: the overhead of an op; ``interference``: compute slowed down by what
#: else goes on; ``latency`` of links and protocols; ``fill``: of an algorithm's pipeline;
#: ``transfer``: the links, were they free; ``contention``: sharing them with other transfers;
#: ``arrival``: no time, the last member of a collective comes to it; ``host``: what the host needs
#: to issue a pass.
Limit = Literal[
    "compute", "memory", "launch", "interference", "latency", "fill", "transfer", "contention",
    "arrival", "host",
]  # fmt: skip

#: Limits whose time is spent on links.
ON_LINKS: frozenset[Limit] = frozenset({"transfer", "contention"})

#: Why a stretch begins when the one before it ends. ``start``: of the step; ``program order``:
#: the lane is in order; ``data``: it reads what the other wrote; ``slot``: it fills a place that
#: the other still used; ``issue order``: a communication waits for the compute issued before it;
#: ``head of line``: a send or a receive stands on its lane behind communication with others, and
#: needs nothing of it; ``rendezvous``: the last member of a collective, or the partner of a hop,
#: had to come; ``same task``: it is the next stretch of the same task; ``host``: the host issues it
#: behind the pass before.
Edge = Literal[
    "start", "program order", "data", "slot", "issue order", "head of line", "rendezvous",
    "same task", "host",
]  # fmt: skip


class Piece(NamedTuple):
    """A stretch of the critical path.

    Attributes
    ----------
    rank : int
        Whose task it is; of a transfer, the member through which the path goes on.
    op : Op
    limit : Limit
    start, end : float
        Seconds. Every piece starts when the one before it ends, to the last bit.
    edge : Edge
        What ties it to the piece before it.
    link : int or None
        Of communication: the link that is full first.
    """

    rank: int
    op: Op
    limit: Limit
    start: float
    end: float
    edge: Edge
    link: int | None = None


def seconds(pieces: Iterable[Piece]) -> float:
    """Return how long pieces take together, rounded once: what telescopes does so exactly."""
    return fsum(moment for piece in pieces for moment in (piece.end, -piece.start))


Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class CriticalPath:
    """A chain of pieces from the start of the step to its end, without a gap.

    Parameters
    ----------
    pieces : tuple of Piece
        In order of time.
    """

    pieces: tuple[Piece, ...]

    @property
    def total(self) -> float:
        """Seconds of all pieces; the step time, unless a piece is missing."""
        return seconds(self.pieces)

    def by(self, name: Callable[[Piece], Name]) -> dict[Name, float]:
        """Return the seconds of the pieces by name, largest first; names without time are out."""
        groups: dict[Name, list[Piece]] = defaultdict(list)
        for piece in self.pieces:
            groups[name(piece)].append(piece)
        sums = {key: seconds(group) for key, group in groups.items()}
        return dict(sorted(((k, s) for k, s in sums.items() if s), key=lambda item: -item[1]))

    def edges(self) -> dict[Edge, int]:
        """Return how often the path goes over each kind of edge, inside tasks left out."""
        counts: dict[Edge, int] = defaultdict(int)
        for piece in self.pieces:
            if piece.edge not in ("same task", "start"):
                counts[piece.edge] += 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def graph(self) -> nx.DiGraph[int]:
        """Return the path as a graph: nodes hold a `Piece`, edges their ``kind`` and ``weight``.

        The weight of an edge is the seconds of the piece that it leads to; `networkx.dag_longest_
        path_length` gives the total but for the first piece. Only the path is made into a graph:
        one of all tasks would take longer than their simulation.
        """
        graph: nx.DiGraph[int] = nx.DiGraph()
        for number, piece in enumerate(self.pieces):
            graph.add_node(number, piece=piece)
            if number:
                weight = piece.end - piece.start
                graph.add_edge(number - 1, number, kind=piece.edge, weight=weight)
        return graph
