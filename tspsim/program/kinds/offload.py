"""The optimizer's step on the host: states live there, gradients come down, weights go up."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.kinds.vocabulary import OptimizerStep
from tspsim.program.types import Operand, Work


@dataclass(frozen=True, slots=True)
class HostCopy(Pointwise):
    """``operands ->``: so many bytes of them pass the link between device and host.

    Parameters
    ----------
    bytes : int
    """

    bytes: int
    name = "host_copy"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the traffic on the link."""
        return Work(0, self.bytes, "host_link")

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class HostStep(Pointwise):
    """An optimizer's step whose states are the host's: see `OptimizerStep`.

    Parameters
    ----------
    step : OptimizerStep
        What it does.
    states : int
        Bytes of the states, which no buffer of the device holds.
    """

    step: OptimizerStep
    states: int
    name = "host_step"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the traffic of the host's memory: states are read and written."""
        return Work(0, self.step.work(inputs, outputs).bytes + 2 * self.states, "host_memory")

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return what the step does."""
        return self.step.values(where, *arrays)
