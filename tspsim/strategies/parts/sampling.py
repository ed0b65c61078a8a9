"""The end of a step of inference: logits of every sequence's last token, and the next token."""

from __future__ import annotations

from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.cached import Rows
from tspsim.program.kinds.cache import LastRows, Sample
from tspsim.program.kinds.soft_cap import soft_cap
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.ends import ID_ITEMSIZE, Ends, HeadTape
from tspsim.strategies.parts.groups import Groups
from tspsim.strategies.parts.weights import Cut


class Sampling(Ends):
    """Embedding and head of one rank, without a loss.

    Parameters
    ----------
    rank : Rank
    cut : Cut
    place : ActivationShard
        Its tokens are `Rows`.
    gather_axis : str or None
    groups : Groups
    """

    def __init__(
        self,
        rank: Rank,
        cut: Cut,
        place: ActivationShard,
        gather_axis: str | None,
        groups: Groups,
    ) -> None:
        super().__init__(rank, cut, place, gather_axis, groups)
        assert isinstance(place.tokens, Rows)
        self.rows = place.tokens

    def head(self, x: Operand, loss: Operand) -> HeadTape:  # noqa: ARG002
        """Record norm, logits and the choice of the next token of every sequence."""
        self.group.begin()
        assert self.table is not None and self.norm is not None
        rank, number = self.rank, self.rank.micro_batch
        table, norm = (self.group.now(w).value for w in (self.table, self.norm))
        normed = rank.norm(self._last(x), norm.flat, "final_norm").output
        name = table.parts[0].name
        logits = rank.matmul(normed, table[name], "logits", transpose_b=True)
        if self.axis:
            (logits,) = self.axis.all_gather(logits, dim=2, lane="tokens", label="logits")
        if cap := rank.model.logit_cap:
            rank.compute(soft_cap(cap, fused=True), (logits,), (logits,), "logits.cap")
        ids = rank.buffer("next", (*logits.shape[:2], 1), ID_ITEMSIZE)
        rank.compute(Sample(), (logits,), (ids,), "sample")
        rank.probe(logits, f"logits.{number}", self.rows.requests)
        return HeadTape(x, ())

    def _last(self, x: Operand) -> Operand:
        """Return the last token's row of every sequence, on every rank that computes logits."""
        rank, rows = self.rank, self.rows
        last = rank.tensor("last", (1, len(rows.requests.each), x.shape[-1]))
        rank.compute(LastRows(rows), (x,), (last,), "last")
        over = self._cut
        return over.all_reduce(last, lane="tokens", label="last")[0] if over else last

    @property
    def _cut(self) -> Axis | None:
        """The axis over which the rows are cut."""
        return self.rank.axis(self.rows.axis) if self.rows.axis else None
