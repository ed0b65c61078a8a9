"""Rows of tokens on their way to the ranks of their experts, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.kinds.dispatch import Exchange
from tspsim.program.packed import Part
from tspsim.program.rank import Rank
from tspsim.program.rows import Groups, Picked, Sent, varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import ExpertLayer, ExpertMlp


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a layer's rows.

    Parameters
    ----------
    picked : Picked
        Those that a rank sends.
    blocks : tuple of tuple of int
        By coordinate of the axes along which nothing travels: rows for every member of the others.
    counts : tuple of tuple of int
        By coordinate of all axes: the rows of every expert there, of one sender.
    arrived : int
        Rows that come to a rank.
    groups : Groups
        The rows of every expert, of all senders.
    """

    picked: Picked | Sent
    blocks: tuple[tuple[int, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    arrived: int
    groups: Groups


class Travelling(ExpertLayer):
    """Experts dealt over axes, a block of whole ones to every rank: the way of rows to them.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    here : tuple of str
        The axes along which ranks hold the same tokens.
    travel : tuple of str
        Those along which they hold different ones.

    Attributes
    ----------
    senders : int
        Ranks that send rows to a rank.
    sources : int
        Ranks whose rows it multiplies: these, but where a layout brings it others' too.
    """

    def __init__(
        self, rank: Rank, place: ActivationShard, here: tuple[str, ...], travel: tuple[str, ...]
    ) -> None:
        super().__init__(rank, place, (*here, *travel))
        self.here, self.senders = here, rank.mesh.degree(travel)
        self.sources = self.senders
        self.ways: Axis | None = rank.axis(travel) if self.senders > 1 else None
        self.sums: Axis | None = rank.axis(here) if rank.mesh.degree(here) > 1 else None

    def parts(self) -> list[Part]:
        """Return whole experts."""
        return self.cut(columns=False)

    def _route(self) -> Route:
        """Return the way of the rows of all experts."""
        return self._route_of(slice(None))

    def _route_of(self, local: slice) -> Route:
        """Return the way of the rows of some of the experts of every rank."""
        here = self.degree // self.senders
        blocks_of = np.reshape(self.dealing.kept, (self.degree, -1))
        some = np.zeros_like(blocks_of)
        some[:, local] = blocks_of[:, local]
        dealing = replace(self.dealing, kept=tuple(some.reshape(-1).tolist()))
        counts = [tuple(row) for row in blocks_of[:, local].tolist()]
        rows = [sum(block) for block in counts]
        blocks = tuple(
            tuple(rows[i : i + self.senders]) for i in range(0, self.degree, self.senders)
        )
        groups = Groups.of_blocks(self.over, [tuple(self.sources * n for n in c) for c in counts])
        axes = self.here if here > 1 else None
        picked = Picked(dealing, self.rank.workload.batch, 1, axes, here)
        arrived = varying(self.over or None, [self.senders * n for n in rows])
        return Route(picked, blocks, tuple(counts), arrived, groups)

    # ---- rows on their way -------------------------------------------------------------------

    def _to_experts(self, *rows: Operand, route: Route, label: str) -> tuple[Operand, ...]:
        """Send rows to the ranks of their experts."""
        if self.ways is None:
            return rows
        kind = Exchange(route.blocks, self.here or None)
        return self.ways.exchange(
            *rows, kind=kind, count=route.arrived, lane="experts", label=label
        )

    def _from_experts(self, *rows: Operand, route: Route, label: str) -> tuple[Operand, ...]:
        """Send rows back to where they came from."""
        if self.ways is None:
            return rows
        kind = Exchange(route.blocks, self.here or None).returning
        return self.ways.exchange(
            *rows, kind=kind, count=route.picked.rows, lane="experts", label=label
        )

    def _mlp(self, route: Route) -> ExpertMlp:
        return ExpertMlp(self.rank, route.groups)
