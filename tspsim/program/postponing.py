"""Backward in two halves: what only weight gradients need can be recorded later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tspsim.mesh import Mesh
from tspsim.program.interleaving import Interleaving
from tspsim.program.types import Phase


class Postponed(NamedTuple):
    """What of backward is recorded later, and where it belongs."""

    layer: int | None
    phase: Phase
    record: Callable[[], None]


class Postponing(Interleaving):
    """A recorder that can put off the second half of backward.

    Parameters
    ----------
    mesh : Mesh
    """

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh)
        self._postponed: list[Postponed] | None = None

    @property
    def postpones(self) -> bool:
        """Whether what only weight gradients need is being put off."""
        return self._postponed is not None

    def weighs(self, record: Callable[[], None]) -> None:
        """Record what only weight gradients need: now, or with the second half of backward.

        What is put off reads its operands when it is recorded: they live until then, and nothing
        may write over them in between.
        """
        if self._postponed is None:
            record()
        else:
            self._postponed.append(Postponed(self.layer, self.phase, record))

    @contextmanager
    def postponing(self) -> Iterator[list[Postponed]]:
        """Put off what only weight gradients need; give what is to be recorded later, in order."""
        before, self._postponed = self._postponed, list[Postponed]()
        try:
            yield self._postponed
        finally:
            self._postponed = before

    def record_postponed(self, postponed: Sequence[Postponed]) -> None:
        """Record what was put off."""
        for part in postponed:
            with self.at(layer=part.layer, phase=part.phase):
                part.record()
