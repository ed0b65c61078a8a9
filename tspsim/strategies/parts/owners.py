"""Attention whose weights come owner by owner, in one loop or in two: what both share, and the one.

Every rank holds some heads' weights; in turn r owner r's are broadcast, and every rank attends with
them to its own tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tspsim.program.packed import Packed, Weights
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Heads, Sinks
from tspsim.strategies.parts.layers import LayerWeights
from tspsim.strategies.parts.prefetch import Prefetch, staggered
from tspsim.strategies.parts.projections import Bucket, Gradients

if TYPE_CHECKING:
    from tspsim.strategies.tsp import TspDecoder


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop: owner r's weights, one bucket of its heads.

    Parameters
    ----------
    index, owner, bucket : int
        Position in the loop, and what it stands for.
    w : Packed or None
        The weights, once they are there.
    tape : CoreTape or None
    gradients : tuple of Operand
        dq, dk, dv of the local tokens; or those of what the projections gave.
    """

    index: int
    owner: int
    bucket: int
    w: Packed | None = None
    tape: CoreTape | None = None
    gradients: Gradients | None = None


class OneLoop:
    """All of an owner's weights come at once.

    Parameters
    ----------
    decoder : TspDecoder
        Says what runs in every turn.
    """

    def __init__(self, decoder: TspDecoder) -> None:
        self.decoder, self.rank, self.axis = decoder, decoder.rank, decoder.axis
        self.cut, self.options = decoder.cut, decoder.options
        self.exchange, self.projections = decoder.exchange, decoder.projections
        # Back-pressure: without it prefetch runs ahead, piles up memory and slows the step.
        slots, ahead = self.options.slots, self.options.lookahead
        self.slots = {"forward": self.rank.slots(slots + ahead)}
        self.slots["recompute"] = self.slots["forward"]
        self.slots["backward"] = self.rank.slots(slots + 2 * ahead)
        self.gradient_slots = self.rank.slots(2 + ahead)

    # ---- turns, and the weights that come for them -------------------------------------------

    def _turns(self) -> list[Turn]:
        order = [(r, b) for r in range(self.axis.degree) for b in range(self.cut.buckets)]
        return [Turn(i, r, b) for i, (r, b) in enumerate(order)]

    def _broadcasts(self, *packs: Packed) -> Prefetch[Packed]:
        """Return the owners' weights, of one pack after another; the next ones are on their way."""
        slots, degree = self.slots[self.rank.phase], self.axis.degree

        def issue(number: int) -> Packed:
            w, owner = packs[number // degree], number % degree
            flat = self.axis.broadcast(w.flat, owner, lane="weights", label="weights", into=slots)
            return w.over(flat)

        return Prefetch(issue, len(packs) * degree, self.options.slots - 1)

    def _fetch(self, turn: Turn, broadcasts: Prefetch[Packed], current: list[Packed]) -> Packed:
        """Return the weights of a turn: all buckets of an owner use what came for the first."""
        if turn.bucket == 0:
            current[:] = [broadcasts.take()]
        return current[0]

    def _heads(self, turn: Turn, into: Operand | None = None) -> Heads:
        """Return the heads of a turn, with their sinks if there are any."""
        assert turn.w is not None
        name = f"sinks{turn.bucket}"
        sinks = Sinks(turn.w[name], into, add=False) if name in turn.w else None
        return replace(self.decoder.heads, sinks=sinks)

    # ---- forward -----------------------------------------------------------------------------

    def forward(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, list[CoreTape]]:
        """Project local tokens, gather K and V, attend, add up locally."""
        x, broadcasts = self.projections.spread(x), self._broadcasts(w.attention.value)
        return self._attended(broadcasts, partial(self._project, x, w, kept))

    def _attended(
        self, broadcasts: Prefetch[Packed], project: Callable[[Turn], CoreTape]
    ) -> tuple[Operand, list[CoreTape]]:
        """Record the loop in which heads attend; `project` gives queries, keys and values."""
        current, tapes = list[Packed](), list[CoreTape]()
        out: list[Operand | None] = [None]

        def begin(turn: Turn) -> Turn:
            turn = replace(turn, w=self._fetch(turn, broadcasts, current))
            return replace(turn, tape=project(turn))

        def attend(turn: Turn) -> Turn:
            assert turn.tape is not None and turn.w is not None
            tape = self.exchange.attend(self._heads(turn), turn.tape)
            weight = turn.w[f"o{turn.bucket}"]
            o = self.projections.output(tape.output, Bucket(turn.w, None, turn.bucket))
            out[0] = self.rank.matmul(o, weight, "o", add_to=out[0])
            tapes.append(self._kept(tape))
            return turn

        staggered(self._turns(), (begin, attend), self.options.lookahead)
        assert out[0] is not None
        return out[0], tapes

    def _project(self, x: Any, w: LayerWeights, kept: Any, turn: Turn) -> CoreTape:
        """Project local tokens; K and V begin to travel as soon as they are written."""
        assert turn.w is not None
        bucket, have = Bucket(turn.w, w.qk_norm, turn.bucket), kept[turn.index] if kept else None
        if have:
            self.projections.saves(x, bucket)
        kv = None if have else self.projections.keys_values(x, bucket)
        queries = partial(self.projections.queries, x, bucket)
        return bucket.of(self.exchange.project(queries, kv, have))

    def _kept(self, tape: CoreTape) -> CoreTape:
        """Return what backward will read: the rest dies with its last reader in forward."""
        tape = self.exchange.forget(tape)
        drops = self.decoder.recompute == "selective"
        return tape.without_core(self.rank.kernels.recomputed) if drops else tape

    # ---- backward ----------------------------------------------------------------------------

    @property
    def _again(self) -> bool:
        """Whether forward runs again inside of backward's loops."""
        return self.decoder.recompute == "full" and self.decoder.recomputes_inside

    def backward(self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: Any) -> Any:
        """Loop over owners again: dX adds up locally, dW is reduced to its owner."""
        broadcasts, own = self._broadcasts(w.attention.value), w.attention
        packs: dict[int, Packed] = {}
        dx: list[Any] = [None]
        x = self.projections.spread(normed())

        def prepare(turn: Turn) -> CoreTape:
            assert turn.w is not None
            if self._again:
                return self._project(x, w, tape, turn)
            bucket = Bucket(turn.w, w.qk_norm, turn.bucket)
            expand = partial(self.projections.keys_values, x, bucket)
            return self.exchange.gather(tape[turn.index], expand)

        def finish(turn: Turn) -> Turn:
            assert turn.gradients is not None and turn.w is not None and turn.tape is not None
            local = self.projections.before_positions(turn.gradients, turn.tape, w.qk_norm)
            dx[0] = self.projections.input_gradient(local, turn.w, turn.bucket, dx[0])
            turn = replace(turn, gradients=local)
            self.rank.weighs(partial(self._turn_gradients, turn, x, local, own, packs))
            return turn

        self._through(dy, broadcasts, own, packs, (prepare, finish))
        return self.projections.collect(dx[0])

    def _through(
        self,
        dy: Operand,
        broadcasts: Prefetch[Packed],
        own: Weights,
        packs: dict[int, Packed],
        ends: tuple[Callable[[Turn], CoreTape], Callable[[Turn], Turn]],
    ) -> None:
        """Record the loop through the cores; what stands in front of them, and behind, is given."""
        prepare, finish = ends
        current = list[Packed]()

        def begin(turn: Turn) -> Turn:
            turn = replace(turn, w=self._fetch(turn, broadcasts, current))
            with self.rank.at(phase="recompute" if self._again else None):
                return replace(turn, tape=prepare(turn))

        def core(turn: Turn) -> Turn:
            assert turn.tape is not None and turn.w is not None
            heads = self._heads(turn, self._sinks_gradient(turn))
            restored = self.exchange.restore(heads, turn.tape)
            self.rank.weighs(partial(self._output_gradient, turn, restored, dy, own, packs))
            do = self.rank.matmul(dy, turn.w[f"o{turn.bucket}"], "do", transpose_b=True)
            gradients = self.exchange.backward(heads, do, restored)
            if heads.sinks and heads.sinks.into:
                self.rank.weighs(partial(self._keep_sinks, turn, heads.sinks.into, packs))
            return replace(turn, gradients=gradients)

        staggered(self._turns(), (begin, core, finish), self.options.lookahead)

    def _sinks_gradient(self, turn: Turn) -> Operand | None:
        """Return where attention's backward writes the gradient of a turn's sinks."""
        assert turn.w is not None
        name = f"sinks{turn.bucket}"
        return self.rank.statistics("dsinks", turn.w[name].shape) if name in turn.w else None

    def _keep_sinks(self, turn: Turn, gradient: Operand, packs: dict[int, Packed]) -> None:
        """Record that it goes into the gradients that are reduced to the owner."""
        row, into = view(gradient, 0, (1, *gradient.shape)), packs[turn.owner]
        add = self.axis.degree == 1
        self.rank.bias_gradient(row, into[f"sinks{turn.bucket}"], "sinks", add=add)

    def _output_gradient(
        self, turn: Turn, tape: CoreTape, dy: Operand, w: Weights, packs: dict[int, Packed]
    ) -> None:
        into = self._gradient_pack(turn, w, packs)[f"o{turn.bucket}"]
        self.rank.weight_gradient(tape.output, dy, into, "o", add=self.axis.degree == 1)

    def _turn_gradients(
        self, turn: Turn, x: Any, gradients: Gradients, w: Weights, packs: dict[int, Packed]
    ) -> None:
        """Record dW of the projections; what is complete is reduced to its owner."""
        into, add = packs[turn.owner], self.axis.degree == 1
        self.projections.weight_gradients(x, gradients, into, turn.bucket, add=add)
        self._reduce(turn, into, w)

    def _reduce(self, turn: Turn, pack: Packed, w: Weights) -> None:
        """Reduce an owner's gradients to it behind its last bucket."""
        if self.axis.degree > 1 and turn.bucket + 1 == self.cut.buckets:
            target = w.gradient.flat
            self.axis.reduce(
                pack.flat, turn.owner, add_to=target, lane="gradients", label="dweights"
            )

    def _gradient_pack(self, turn: Turn, w: Weights, packs: dict[int, Packed]) -> Packed:
        """Return where this turn's weight gradients are written, in the activations' type."""
        if self.axis.degree == 1:
            packs[turn.owner] = w.gradient
        elif turn.bucket == 0:
            shape, slots = w.value.flat.shape, self.gradient_slots
            flat = self.rank.tensor("dweights", shape, "workspace", into=slots)
            packs[turn.owner] = w.value.over(flat)
        return packs[turn.owner]
