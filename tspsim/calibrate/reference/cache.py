"""The keys and values that a rank keeps of several sequences in one layer."""

from __future__ import annotations

import torch
from torch import Tensor

from tspsim.calibrate.reference.places import Layout, Sequence, Span, Step


class Cache:
    """Of every sequence a tensor [groups, places, 2 * width]: K and V of some heads side by side.

    Parameters
    ----------
    layout : Layout
        How sequences lie on ranks.
    coordinate : int
        This rank's place among them.
    like : Tensor
        Of the type and device of keys and values.
    groups : int
        A rank whose cache has all heads has them as their weights are cut.
    width : int
        Of the keys of one group.
    """

    def __init__(
        self, layout: Layout, coordinate: int, like: Tensor, groups: int, width: int
    ) -> None:
        self.layout, self.coordinate, self.groups = layout, coordinate, groups
        self._new = like.new_zeros, 2 * width
        self.kept: list[Tensor] = []

    @property
    def bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(kept.nbytes for kept in self.kept)

    def reserve(self, sequences: tuple[Sequence, ...]) -> None:
        """Have as many places as some sequences need: what is there stays in front."""
        zeros, width = self._new
        for number, sequence in enumerate(sequences):
            if number == len(self.kept):
                self.kept.append(zeros(self.groups, 0, width))
            kept = self.kept[number]
            more = sequence.places(self.layout) - kept.shape[1]
            if more:
                self.kept[number] = torch.cat([kept, zeros(self.groups, more, width)], 1)

    def put(self, kv: Tensor, given: list[list[Span]], step: Step, group: slice) -> None:
        """Put the new tokens that have their place here into it.

        Parameters
        ----------
        kv : Tensor
            Rows of some groups, [groups, rows, 2 * width].
        given : list of list of Span
            Where every sequence's new tokens are among these rows.
        step : Step
        group : slice
        """
        for number, sources in enumerate(given):
            into, known = self.kept[number][group], step.before[number].length
            for place in self.held(step, number):
                for source in sources if place.start >= known else ():
                    if source.start <= place.start and place.stop <= source.stop:
                        moved = source.row - source.start
                        into[:, place.rows] = kv[:, place.start + moved : place.stop + moved]

    def held(self, step: Step, number: int) -> list[Span]:
        """Return where this rank has a sequence behind a step."""
        return step.held(self.layout, number, self.coordinate)

    def rows(self, group: slice) -> Tensor:
        """Return all places of all sequences, of some groups, one after another."""
        return torch.cat([kept[group] for kept in self.kept], 1)

    def of_all(self, step: Step) -> list[list[Span]]:
        """Return where every sequence lies when the `rows` of all ranks are stacked."""
        places = [sequence.places(self.layout) for sequence in step.after]
        found: list[list[Span]] = []
        for number in range(len(places)):
            before = sum(places[:number])
            found.append([
                span.moved(coordinate * sum(places) + before)
                for coordinate in range(self.layout.degree)
                for span in step.held(self.layout, number, coordinate)
            ])  # fmt: skip
        return found
