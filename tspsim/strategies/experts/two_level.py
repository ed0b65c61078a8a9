"""Tokens travel once to every node that holds experts of theirs, and are sent on inside it.

Between nodes a token goes to the rank with the sender's own place in the node, once; that rank
sends it on to those of its node that hold its experts (DeepSeek-V3, arXiv 2412.19437, section
3.2.2; DeepEP's normal kernels). The outermost axes of the experts lie across nodes, the last one
inside.
"""

from __future__ import annotations

from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.kinds.dispatch import Exchange
from tspsim.program.rank import Rank
from tspsim.program.rows import Forwarded, Sent, distinct, varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import GateTape, present
from tspsim.strategies.experts.tokens_once import TokensTravelOnce


class TwoLevel(TokensTravelOnce):
    """A row for every token and node, and for every token and rank inside."""

    def __init__(
        self, rank: Rank, place: ActivationShard, here: tuple[str, ...], travel: tuple[str, ...]
    ) -> None:
        super().__init__(rank, place, here, travel)
        self.outer, inner = travel[:-1], travel[-1]
        self.nodes, self.each = rank.mesh.degree(self.outer), rank.mesh.degree(inner)
        self.between: Axis = rank.axis(self.outer)
        self.inside: Axis = rank.axis(inner)

    def _levels(self) -> tuple[Sent, Exchange, Forwarded, Exchange]:
        """Return what goes between nodes, and what is sent on."""
        sent = Sent(self.dealing, self.nodes)
        forwarded = Forwarded(self.dealing, self.nodes, self.each, self.outer)
        to_nodes = Exchange((distinct(self.dealing, self.nodes),))
        return sent, to_nodes, forwarded, Exchange(forwarded.blocks, self.outer)

    def _there(self, x: Operand, weights: Operand | None, label: str) -> tuple[Operand, ...]:
        """Send tokens to nodes, and on to ranks."""
        sent, to_nodes, forwarded, to_ranks = self._levels()
        counts = distinct(self.dealing, self.nodes)
        came = varying(self.outer, [self.nodes * n for n in counts])
        rows = (self.permute(x, sent), *self._weighed(weights, sent))
        there = self.between.exchange(*rows, kind=to_nodes, count=came, lane="nodes", label=label)
        on = (
            self.permute(there[0], forwarded),
            *self._weighed(there[1] if weights else None, forwarded),
        )
        return self.inside.exchange(
            *on, kind=to_ranks, count=self._copies().came, lane="experts", label=label
        )

    def _back(
        self, rows: Operand, dweights: Operand | None, label: str, like: GateTape
    ) -> tuple[Operand, ...]:
        """Send results back through the nodes, added up in every one of them."""
        sent, to_nodes, forwarded, to_ranks = self._levels()
        came = (varying(self.outer, [self.nodes * n for n in distinct(self.dealing, self.nodes)]),)
        back = self.inside.exchange(
            *present(rows, dweights), kind=to_ranks.returning, count=forwarded.rows,
            lane="experts", label=label,
        )  # fmt: skip
        shape = like.weights.shape
        summed = self.permute_backward(back[0], forwarded, came)
        more = [self._summed(d, forwarded, (*came, shape[-1])) for d in back[1:]]
        home = self.between.exchange(
            summed, *more, kind=to_nodes.returning, count=sent.rows, lane="nodes", label=label
        )
        out = self.permute_backward(home[0], sent, shape[:2])
        return out, *(self._summed(d, sent, shape) for d in home[1:])
