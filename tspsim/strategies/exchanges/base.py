"""What every K/V exchange provides, and what its forward leaves for its backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from tspsim.kernels import Recomputed
from tspsim.program.kinds.attention import Core
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.program.unfused import KeptScores

if TYPE_CHECKING:
    from tspsim.strategies.caches.base import KvCache

#: Records keys and values.
Expand: TypeAlias = Callable[[], tuple[Operand, Operand]]


@dataclass(frozen=True, slots=True)
class Sinks:
    """What some heads have in every softmax beside scores.

    Parameters
    ----------
    value : Operand
        A number per head.
    into : Operand or None
        Where their gradient goes.
    add : bool
        It is added there; otherwise written.
    """

    value: Operand
    into: Operand | None = None
    add: bool = True


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads that one call attends with.

    Parameters
    ----------
    queries, keys : int
        Query heads, key/value heads.
    sinks : Sinks or None
        Of these query heads.
    """

    queries: int
    keys: int
    sinks: Sinks | None = None

    @property
    def sink(self) -> Operand | None:
        """A number per head, if they have sinks."""
        return self.sinks.value if self.sinks else None


@dataclass(frozen=True, slots=True)
class CoreTape:
    """What the attention core's forward leaves; None is what has to be recomputed.

    Parameters
    ----------
    q, k, v : Operand
        Of this rank's tokens; k and v are None where only the gathered ones were kept.
    gathered : pair of Operand or None
        K and V of all tokens, in logical order.
    arriving : pair of Operand or None
        K and V on their way: gathered, but still in rank order.
    o, lse : Operand or None
        Output and log-sum-exp, or the scores that an unfused core keeps.
    whole_output : Operand or None
        The output as the core wrote it, where that is not `o`.
    norms : pair of tuples of Operand, or None
        What the backward of the norms of queries and keys reads.
    """

    q: Operand
    k: Operand | None
    v: Operand | None
    gathered: tuple[Operand, Operand] | None = None
    arriving: tuple[Operand, Operand] | None = None
    o: Operand | None = None
    lse: Operand | KeptScores | None = None
    whole_output: Operand | None = None
    norms: tuple[tuple[Operand, ...], ...] | None = None

    def without_core(self, recomputed: Recomputed) -> CoreTape:
        """Return the tape for ``recompute: selective``: what the core wrote is dropped.

        Autograd keeps its output, which the next matmul reads.
        """
        o = self.o if recomputed == "autograd" else None
        return replace(self, o=o, lse=None, whole_output=None)

    def restored(self, again: CoreTape) -> CoreTape:
        """Return a tape of a second forward, with the output of the first where that was kept."""
        return again if self.o is None else replace(again, o=self.o)

    @property
    def output(self) -> Operand:
        """The attention output, which must have been kept or restored."""
        assert self.o is not None
        return self.o


class Exchange(ABC):
    """One way of attending over a sequence that is cut over ranks.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        This rank's tokens.
    axis : str
        The axis that cuts them.
    """

    #: Keys and values of earlier tokens, where there are any.
    cache: KvCache | None = None

    def __init__(self, rank: Rank, tokens: Tokens, axis: str) -> None:
        self.rank, self.tokens, self.axis = rank, tokens, rank.axis(axis)

    def forward(
        self,
        heads: Heads,
        queries: Callable[[], Operand],
        kv: tuple[Operand, Operand] | None,
        kept: tuple[Operand, Operand] | None = None,
    ) -> CoreTape:
        """Record the core's forward.

        Parameters
        ----------
        heads : Heads
        queries : callable
            Records the projection of the queries: K and V may begin to travel before it.
        kv : pair of Operand or None
            K and V of this rank's tokens.
        kept : pair of Operand or None
            K and V kept from an earlier forward.
        """
        assert kv is not None and kept is None, "only gathered K and V can be kept"
        return self.attend(heads, self.bring(heads, queries(), *kv))

    def bring(self, heads: Heads, q: Operand, k: Operand, v: Operand) -> CoreTape:  # noqa: ARG002
        """Record what has to travel before attention begins."""
        return CoreTape(q, k, v)

    @abstractmethod
    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention; return the tape with its output."""

    def keeps(self, tape: CoreTape) -> tuple[Operand, Operand] | None:  # noqa: ARG002
        """Return the K and V that survive ``recompute: full``."""
        return None

    def gather(self, tape: CoreTape, expand: Expand) -> CoreTape:  # noqa: ARG002
        """Record the gathering of what backward reads of other ranks, where it can begin early.

        `expand` records K and V once more, where they are made of what was gathered.
        """
        return tape

    def restore(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record what it takes to have everything that `backward` reads."""
        if tape.lse is not None:
            return tape
        with self.rank.at(phase="recompute"):
            return tape.restored(self.attend(heads, tape))

    @abstractmethod
    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Record the core's backward; return dq, dk and dv of this rank's tokens."""

    def sinks_backward(self, core: Core, heads: Heads, do: Operand, tape: CoreTape) -> None:
        """Record the gradient of sinks, if there are any: once, whatever the parts of the keys."""
        if heads.sinks is None:
            return
        sinks = heads.sinks
        assert sinks.into is not None and tape.lse is not None
        pair = do, tape.output
        self.rank.sinks_gradient(core, pair, tape.lse, sinks.value, sinks.into, add=sinks.add)


def core_of(rank: Rank, heads: Heads, queries: Tokens, keys: Tokens) -> Core:
    """Return the attention core of the layer at hand between two sets of tokens."""
    assert rank.layer is not None
    causal, window = rank.workload.causal != "off", rank.model.kind(rank.layer).window
    return Core(heads.queries, heads.keys, queries, keys, causal, window, rank.model.score_cap)
