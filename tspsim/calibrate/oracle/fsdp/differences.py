"""Where torch's peak and the simulator's differ on purpose: each named, and counted.

Around the reference's layers there are none. Plain modules have a tensor per matrix, and autograd
makes gradients of its own; the simulator packs what travels together into one buffer.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.calibrate.oracle.differences import MemoryDifference
from tspsim.calibrate.oracle.fsdp.config import Config
from tspsim.model import ITEMSIZE


def memory_differences(config: Config) -> Iterator[MemoryDifference]:
    """Yield what torch holds at its peak, in the last layer's MLP, and the simulator does not."""
    job = config.job
    if job.source == "reference":
        return
    size = ITEMSIZE[job.dtype]
    dup = size * job.batch * job.sequence * job.ffn
    yield MemoryDifference(dup, "the gradient of up is a new tensor, not written over up")
    missing = 2 * size * job.hidden * job.ffn
    why = "weight gradients of gate and up are no tensors yet; the simulator has one for the MLP"
    yield MemoryDifference(-missing, why)
