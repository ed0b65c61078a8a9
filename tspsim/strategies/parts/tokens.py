"""How the sequence of a workload is cut over an axis, and what has to divide for it."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.tokens import Tokens


def whole_sequence(workload: Workload) -> Tokens:
    """Return the tokens of a rank that holds the whole sequence."""
    return Tokens(workload.sequence)


def cut_sequence(workload: Workload, axis: str, degree: int) -> Tokens:
    """Return the tokens of a rank when the sequence is cut over an axis.

    Zigzag only where there is a causal mask to balance.
    """
    zigzag = workload.causal == "zigzag" and degree > 1
    return Tokens(workload.sequence, axis, degree, "zigzag" if zigzag else "contiguous")


def sequence_problems(
    workload: Workload, key: str, degree: int, *, inner: int = 1, zigzag: bool = True
) -> Iterator[Problem]:
    """Yield what does not divide; `key` is the strategy's option that gives the degree.

    Zigzag cuts the sequence into twice as many chunks; `inner` cuts a rank's tokens once more.
    """
    if workload.requests:  # a piece of a prompt is padded where it does not divide
        return
    chunks = 2 * degree if zigzag and workload.causal == "zigzag" and degree > 1 else degree
    path = ("strategy", key)
    if workload.sequence % chunks:
        why = f"zigzag cuts it into 2 x {degree} chunks" if chunks > degree else f"{degree} ranks"
        fit = workload.sequence // chunks * chunks or chunks
        message = f"the sequence of {workload.sequence} does not divide into {chunks} ({why})"
        yield Problem(path, f"{message}; {fit} would")
    elif workload.sequence // degree % inner:
        local = workload.sequence // degree
        yield Problem(path, f"sequence_parallel cannot cut {local} local tokens over {inner} ranks")


def chunk_problems(model: ModelShape, workload: Workload, cuts: int) -> Iterator[Problem]:
    """Yield when the head cannot run over equal chunks of a rank's tokens.

    `cuts` is the number of ranks that the tokens between blocks are cut over.
    """
    if workload.requests:
        return
    held = workload.batch * (workload.sequence // cuts)
    if model.vocab and held % workload.loss_chunks:
        message = f"{workload.loss_chunks} does not divide the {held} tokens that a rank holds"
        yield Problem(("workload", "logits_chunks"), message)
