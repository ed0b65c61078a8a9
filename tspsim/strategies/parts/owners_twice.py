"""Attention whose weights come owner by owner in two loops: for norms over whole queries and keys.

The mean square of a query is one over the heads of all owners, and a turn has those of one. So
queries and keys of the rank's own tokens are projected first, in a loop over Wq and Wk, while the
sums of their squares grow; in a second loop, over Wv and Wo, norms are applied and heads attend.
Backward mirrors it: what the norms' backward sums over heads is there behind the loop over Wv and
Wo, so Wq and Wk come last.

Every weight travels as often as in one loop, in messages of half the size, and nothing else does:
all heads' queries and keys of a rank's own tokens are what backward keeps anyway. What runs forward
again has Wq and Wk come once more. The other way, sums first and the projections again when their
turn comes, would have Wq and Wk travel, and be multiplied, twice in every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tspsim.program.packed import Packed, Weights, section
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape
from tspsim.strategies.parts.head_norms import Saved
from tspsim.strategies.parts.layers import LayerWeights
from tspsim.strategies.parts.owners import OneLoop, Turn
from tspsim.strategies.parts.prefetch import Prefetch
from tspsim.strategies.parts.projections import Bucket, Projections
from tspsim.strategies.parts.turn_norms import TurnNorms
from tspsim.strategies.parts.weights import in_front

if TYPE_CHECKING:
    from tspsim.strategies.tsp import TspDecoder


@dataclass(slots=True)
class Whole:
    """Queries and keys of all turns, and sums over them.

    Parameters
    ----------
    rows : dict of list
        The products of each turn, of q and of k.
    sums : dict
        Of their squares, or of what backward needs.
    """

    rows: dict[str, list[Operand]] = field(default_factory=lambda: {"q": [], "k": []})
    sums: dict[str, Operand] = field(default_factory=dict)

    def saved(self, turn: Turn, which: str) -> Saved:
        """Return what the backward of a turn's norm reads."""
        return self.rows[which][turn.index], self.sums[which]


class TwoLoops(OneLoop):
    """Wq and Wk of all owners in one loop, Wv and Wo in another.

    Parameters
    ----------
    decoder : TspDecoder
    """

    def __init__(self, decoder: TspDecoder) -> None:
        super().__init__(decoder)
        assert isinstance(decoder.projections, Projections)
        self.own = decoder.projections
        self.norms = TurnNorms(self.rank, len(self._turns()))

    @staticmethod
    def _halves(w: Packed) -> tuple[Packed, Packed]:
        """Return Wq and Wk with their biases, and the rest."""
        first = sum(in_front(part.name) for part in w.parts)
        return section(w, 0, first), section(w, first, len(w.parts) - first)

    def _place(self, turn: Turn, which: str) -> tuple[str, int]:
        """Return which part of a norm's weight a turn's heads have."""
        owner = turn.owner // (self.cut.replicas if which == "k" else 1)
        return which, owner * self.cut.buckets + turn.bucket

    # ---- forward -----------------------------------------------------------------------------

    def forward(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, list[CoreTape]]:
        """Project queries and keys; then bring K and V together, attend, add up locally."""
        broadcasts = self._broadcasts(*self._halves(w.attention.value))
        whole = self._queries_keys(x, broadcasts)
        return self._attended(broadcasts, partial(self._normed, x, w, whole, kept))

    def _queries_keys(self, x: Any, broadcasts: Prefetch[Packed]) -> Whole:
        """Record the products of all turns, and the sums of their squares."""
        whole, current = Whole(), list[Packed]()
        for turn in self._turns():
            bucket = Bucket(self._fetch(turn, broadcasts, current), None, turn.bucket)
            for which, rows in whole.rows.items():
                rows.append(self.own.product(x, bucket, which))
                so_far = whole.sums.get(which)
                whole.sums[which] = self.norms.squares(rows[-1], which, so_far)
        return whole

    def _normed(self, x: Any, w: LayerWeights, whole: Whole, kept: Any, turn: Turn) -> CoreTape:
        """Give a turn's queries and keys their norms and positions; K and V begin to travel."""
        assert turn.w is not None and w.qk_norm is not None
        saved, norms = {which: whole.saved(turn, which) for which in "qk"}, w.qk_norm

        def normed(which: str) -> Operand:
            out = self.norms.forward(saved[which], norms, self._place(turn, which))
            self.own.turn(out, f"rotary.{which}")
            return out

        have = kept[turn.index] if kept else None
        bucket = Bucket(turn.w, None, turn.bucket)
        kv = None if have else (normed("k"), self.own.product(x, bucket, "v"))
        tape = self.exchange.project(partial(normed, "q"), kv, have)
        return replace(tape, norms=(saved["q"], saved["k"]))

    # ---- backward ----------------------------------------------------------------------------

    def backward(self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: Any) -> Any:
        """Loop over Wv and Wo, then over Wq and Wk: dX adds up locally, dW is reduced to owners."""
        gradients = self._halves(w.attention.gradient)
        first, second = map(Weights, self._halves(w.attention.value), gradients)
        again = (first.value,) if self._again else ()
        broadcasts = self._broadcasts(*again, second.value, first.value)
        x, packs, turns = normed(), dict[int, Packed](), list[Turn]()
        sums, dx = dict[str, Operand](), list[Operand | None]([None])

        def finish(turn: Turn) -> Turn:
            assert turn.w is not None
            dv = self._add_products(turn, w, sums)
            dx[0] = self.own.input_gradient((dv,), turn.w, turn.bucket, dx[0], which="v")
            self.rank.weighs(partial(self._value_gradients, turn, x, dv, second, packs))
            turns.append(turn)
            return turn

        prepare = self._prepared(x, w, tape, broadcasts)
        self._through(dy, broadcasts, second, packs, (prepare, finish))
        return self._before_norms(x, turns, sums, w, first, broadcasts, dx[0])

    def _prepared(
        self, x: Any, w: LayerWeights, tape: Any, broadcasts: Prefetch[Packed]
    ) -> Callable[[Turn], CoreTape]:
        """Return what gives the tape of a turn: what was kept, or forward once more."""
        if not self._again:
            return lambda turn: self.exchange.gather(tape[turn.index], _never)
        with self.rank.at(phase="recompute"):
            whole = self._queries_keys(x, broadcasts)
        return partial(self._normed, x, w, whole, tape)

    def _add_products(self, turn: Turn, w: LayerWeights, sums: dict[str, Operand]) -> Operand:
        """Turn gradients back, and add to the sums that the norms' backward needs; return dv."""
        assert turn.gradients is not None and w.qk_norm is not None
        *gradients, dv = turn.gradients
        for which, dy, saved in zip("qk", gradients, _saved(turn), strict=True):
            self.own.turn(dy, f"rotary.d{which}", inverse=True)
            place, so_far = self._place(turn, which), sums.get(which)
            sums[which] = self.norms.products(dy, saved, w.qk_norm, place, so_far)
        return dv

    def _before_norms(
        self,
        x: Any,
        turns: list[Turn],
        sums: dict[str, Operand],
        w: LayerWeights,
        first: Weights,
        broadcasts: Prefetch[Packed],
        dx: Operand | None,
    ) -> Operand:
        """Record the loop over Wq and Wk: norms' backward, and what comes of their input."""
        packs, current, norms = dict[int, Packed](), list[Packed](), w.qk_norm
        assert norms is not None
        for turn in turns:
            assert turn.gradients is not None
            local = tuple(
                self.norms.backward(dy, saved, sums[which], norms, self._place(turn, which))
                for which, dy, saved in zip("qk", turn.gradients[:2], _saved(turn), strict=True)
            )
            weights = self._fetch(turn, broadcasts, current)
            dx = self.own.input_gradient(local, weights, turn.bucket, dx, which="qk")
            self.rank.weighs(partial(self._first_gradients, turn, x, local, first, packs))
        assert dx is not None
        return dx

    def _value_gradients(
        self, turn: Turn, x: Any, dv: Operand, w: Weights, packs: dict[int, Packed]
    ) -> None:
        self._weigh(turn, x, (dv,), packs[turn.owner], "v")
        self._reduce(turn, packs[turn.owner], w)

    def _first_gradients(
        self,
        turn: Turn,
        x: Any,
        gradients: Sequence[Operand],
        w: Weights,
        packs: dict[int, Packed],
    ) -> None:
        into = self._gradient_pack(turn, w, packs)
        self._weigh(turn, x, gradients, into, "qk")
        self._reduce(turn, into, w)

    def _weigh(
        self, turn: Turn, x: Any, gradients: Sequence[Operand], into: Packed, which: str
    ) -> None:
        add = self.axis.degree == 1
        self.own.weight_gradients(x, gradients, into, turn.bucket, add=add, which=which)


def _saved(turn: Turn) -> tuple[Saved, ...]:
    """Return what the backward of a turn's norms reads, of q and of k."""
    assert turn.tape is not None and turn.tape.norms is not None
    return turn.tape.norms


def _never() -> tuple[Operand, Operand]:
    raise AssertionError("keys and values that are gathered are not expanded")
