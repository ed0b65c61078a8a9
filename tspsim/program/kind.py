"""What an op does, as those see it who play it: with time, with values, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tspsim.mesh import Mesh
from tspsim.program.types import CollectiveKind, Operand, PerCoordinate, Work

if TYPE_CHECKING:
    from tspsim.program.kinds.base import Array


class Kind(Protocol):
    """What an op does: its meanings in one place.

    Kinds live in `tspsim.program.kinds`, one file each. Instances are frozen values.
    """

    @property
    def name(self) -> str:
        """Name of the kind, for example ``"matmul"``."""

    def text(self) -> str:
        """Return the kind with its parameters, short and stable."""


class ComputeKind(Kind, Protocol):
    """What a rank does by itself: its work for time, its values for the proof."""

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return what it asks of the device."""

    @property
    def values(self) -> Callable[..., tuple[Array, ...]]:
        """Return the values of the outputs from ``(where, *values of the inputs)``."""


class CollectiveCall(Kind, Protocol):
    """What the members of a communicator do together."""

    @property
    def name(self) -> CollectiveKind:
        """Which collective it is."""

    def exchange(self, members: Sequence[Sequence[Array]]) -> Sequence[tuple[Array, ...]]:
        """Return every member's outputs from every member's inputs, in member order."""


@runtime_checkable
class ByCommunicator(Protocol):
    """A collective that is another one in other communicators of the same axes."""

    def of_rank(self, mesh: Mesh, rank: int) -> CollectiveCall:
        """Return it as the communicator of a rank has it."""
