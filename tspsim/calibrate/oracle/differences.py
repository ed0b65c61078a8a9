"""Where torch's step and the simulator's differ on purpose: each one named, counted, explained.

A comparison is exact after these: what torch sends, plus them, is what the simulator sends, to the
byte. Whatever is not here fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Call
from tspsim.model import ITEMSIZE


class MessageDifference(NamedTuple):
    """Calls that one side makes and the other does not.

    Attributes
    ----------
    call : Call
    more : int
        How many more of them the simulator makes; negative: torch makes more.
    why : str
    """

    call: Call
    more: int
    why: str


class MemoryDifference(NamedTuple):
    """Bytes that torch holds at its peak and the simulator does not hold at that moment.

    Attributes
    ----------
    bytes : int
    why : str
    """

    bytes: int
    why: str


def message_differences(job: Job) -> Iterator[MessageDifference]:
    """Yield what the two sides send differently."""
    if job.source == "dtensor" and job.option("sequence_parallel"):
        again = "gathered once more in backward; DTensor keeps the gathered input"
        yield MessageDifference(Call("all_gather", activation(job)), 2 * job.layers, again)
        size, tensors = ITEMSIZE[job.dtype] * job.hidden, norm_tensors(job)
        apart = "DTensor sums every norm tensor's gradient apart"
        yield MessageDifference(Call("all_reduce", size), -tensors * job.layers, apart)
        joined = "norm gradients of a layer are summed in one message"
        yield MessageDifference(Call("all_reduce", tensors * size), job.layers, joined)


def memory_differences(job: Job) -> Iterator[MemoryDifference]:
    """Yield what torch holds at its peak and the simulator does not hold then."""
    if job.source == "reference":
        return
    whole, layers = activation(job), 1 if job.recompute == "full" else job.layers
    hidden = whole // job.hidden * job.ffn // job.ranks
    if job.mlp == "gated":
        yield MemoryDifference(layers * hidden, "silu(gate) is kept beside gate, up and hidden")
    if job.option("sequence_parallel"):
        why = "the gathered inputs of attention and MLP are kept, not gathered again"
        yield MemoryDifference(2 * layers * whole, why)
        yield from _scattered(job, whole, hidden)
        return
    yield MemoryDifference(whole, "the sum of an all_reduce is a new tensor, not in place")
    if job.recompute == "full":
        why = "the recomputed outputs of both norms are kept, not computed once more"
        yield MemoryDifference(2 * whole, why)


def _scattered(job: Job, whole: int, hidden: int) -> Iterator[MemoryDifference]:
    """Yield the rest of sequence parallel: at its peak torch is in the last MLP."""
    if job.recompute == "full":  # in its recomputation, just before backward
        yield MemoryDifference(whole, "the gradient is gathered before recomputation, not after")
        yield MemoryDifference(whole // job.ranks, "the norm's output lives on beside the gathered")
        why = "the scattered sum of the recomputed MLP is held, though nobody reads it"
        yield MemoryDifference(whole // job.ranks, why)
        return
    why = "the norms' own outputs are not kept: their gathered copies are"
    yield MemoryDifference(-2 * job.layers * whole // job.ranks, why)
    yield MemoryDifference(hidden, "hidden lives until both products of its backward are done")
    why = "hidden's gradient is gone by then, and the MLP's input is already gathered again"
    yield MemoryDifference(hidden - whole, why)
    matrix = job.hidden * job.ffn // job.ranks * ITEMSIZE[job.dtype]
    yield MemoryDifference(matrix, "a weight gradient is a new tensor before it is added")


def activation(job: Job) -> int:
    """Return the bytes of the residual stream of all tokens."""
    return job.batch * job.sequence * job.hidden * ITEMSIZE[job.dtype]


def norm_tensors(job: Job) -> int:
    """Return the parameter tensors of a layer's two norms."""
    return 4 if job.norm == "layernorm" else 2
