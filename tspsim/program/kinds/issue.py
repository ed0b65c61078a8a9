"""What the host does: it issues the kernels of a pass, ahead of the device."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Operand, Work


@dataclass(frozen=True, slots=True)
class Issue:
    """Python, dispatcher and driver of one pass through a layer; it has no values.

    Parameters
    ----------
    seconds : float
    """

    seconds: float
    name = "issue"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return time alone."""
        return Work(0, 0, "elementwise", launches=0, seconds=self.seconds)

    def values(self, where: Where) -> tuple[Array, ...]:  # noqa: ARG002
        """Return nothing."""
        return ()

    def text(self) -> str:
        """Return the name."""
        return self.name
