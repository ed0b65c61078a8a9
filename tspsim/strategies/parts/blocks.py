"""One layer of a decoder: attention and what comes behind it, with norms and the stream between.

A strategy fills in how attention and MLP run on its mesh.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tspsim.model import Recompute
from tspsim.program.packed import Weights
from tspsim.program.rank import NormTape, Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.latent_down import Down
from tspsim.strategies.parts.layers import LayerTape, LayerWeights, LazyNorm, Normed
from tspsim.strategies.parts.mixture import Mixture


class Blocks(ABC):
    """Records passes through one layer.

    Attributes
    ----------
    rank : Rank
    recompute : {"none", "selective", "full"}
    mixture : Mixture or None
        Of layers that have experts.
    down : Down or None
        Ways down to latents, that attention reads in place of the stream.
    """

    rank: Rank
    recompute: Recompute
    mixture: Mixture | None
    down: Down | None

    #: Under ``recompute: full``, backward recomputes a layer's parts by itself from `x` and
    #: `middle`; otherwise the whole forward of the layer runs again from `x`.
    recomputes_inside = False

    # ---- what a strategy fills in ------------------------------------------------------------

    @abstractmethod
    def attention(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, Any]:
        """Return the attention block's output and its tape; `kept` is what `keeps` kept.

        Its input is an operand, or latents.
        """

    @abstractmethod
    def attention_backward(
        self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: Any
    ) -> Any:
        """Return the gradient of the attention block's input."""

    @abstractmethod
    def mlp(self, x: Operand, w: Weights) -> tuple[Operand, Any]:
        """Return the MLP's output and its tape."""

    @abstractmethod
    def mlp_backward(self, dy: Operand, normed: Normed, w: Weights, tape: Any) -> Operand:
        """Return the gradient of the MLP's input."""

    def keeps(self, tape: Any) -> Any:  # noqa: ARG002
        """Return what of the attention's tape survives ``recompute: full``."""
        return None

    # ---- passes ------------------------------------------------------------------------------

    def _forward(self, x: Operand, w: LayerWeights, _: None) -> tuple[Operand, LayerTape]:
        with self.rank.issued(1):
            tape, y = self._blocks(x, w, None)
            tape, y = self._joined(tape, y, w)
        if self.recompute != "full":
            return y, tape
        if self.recomputes_inside:
            gone = replace(tape, norm1=None, norm2=None, mlp=None, latents=None)
            return y, replace(gone, **self._survivors(tape))
        return y, LayerTape(x, **self._survivors(tape))

    def _survivors(self, tape: LayerTape) -> dict[str, Any]:
        """Return what is kept of what would have to be recomputed."""
        kept = {"attention": self.keeps(tape.attention)}
        # A block's output comes last: where its norm is read first, it must have been kept.
        inside = {"behind1": tape.behind1, "behind2": tape.behind2}
        return kept | inside if self.recomputes_inside else kept

    def _blocks(self, x: Operand, w: LayerWeights, kept: Any) -> tuple[LayerTape, Operand]:
        """Record both blocks; return the tape, and the MLP's output."""
        rank = self.rank
        matrices = self.down.bring(w) if self.down else {}  # what travels does so behind the norm
        norm1 = self._normed(x, w.norm1, "norm1")
        latents = self.down and self.down.forward(norm1.output, w, matrices)
        read = latents.latents if latents else norm1.output
        out, attention = self.attention(read, w, kept)
        behind1, bias = self._behind(out, w.bias1, w.behind1, "norm1_out")
        middle = behind1.output if behind1 else out
        mask = rank.join(x, to=middle, bias=bias, label="residual1")
        norm2 = self._normed(middle, w.norm2, "norm2")
        out, mlp = self._second(norm2.output, w)
        tape = LayerTape(x, middle, norm1, norm2, attention, mlp, mask)
        return replace(tape, behind1=behind1, latents=latents), out

    def _second(self, x: Operand, w: LayerWeights) -> tuple[Operand, Any]:
        """Record the block behind attention: an MLP, or experts."""
        if w.experts is None:
            assert w.mlp is not None
            return self.mlp(x, w.mlp)
        assert self.mixture is not None
        return self.mixture.forward(x, w)

    def _second_backward(self, dy: Operand, normed: Normed, w: LayerWeights, tape: Any) -> Operand:
        if w.experts is None:
            assert w.mlp is not None
            return self.mlp_backward(dy, normed, w.mlp, tape)
        assert self.mixture is not None
        return self.mixture.backward(dy, normed, w, tape)

    def _joined(self, tape: LayerTape, out: Operand, w: LayerWeights) -> tuple[LayerTape, Operand]:
        """Add the stream to the MLP's output; return the tape with what that leaves, and it."""
        assert tape.middle is not None
        behind, bias = self._behind(out, w.bias2, w.behind2, "norm2_out")
        y = behind.output if behind else out
        mask = self.rank.join(tape.middle, to=y, bias=bias, label="residual2")
        return replace(tape, mask2=mask, behind2=behind), y

    def _normed(self, x: Operand, w: Weights | None, label: str) -> NormTape:
        """Return a norm of a block's input; the input itself where the model has none there."""
        return self.rank.norm(x, w.value.flat, label) if w else NormTape(x, ())

    def _behind(
        self, out: Operand, bias: Weights | None, w: Weights | None, label: str
    ) -> tuple[NormTape | None, Operand | None]:
        """Return the norm of a block's output, if any, and the bias that is still to be added."""
        if w is None:
            return None, _value(bias)
        if bias:
            self.rank.bias(out, bias.value.flat, bias.value.flat.buffer.name)
        return self.rank.norm(out, w.value.flat, label), None

    def _again(self, tape: LayerTape, w: LayerWeights) -> LayerTape:
        """Run a layer's forward again."""
        with self.rank.at(phase="recompute"), self.rank.issued(1):
            fresh, out = self._blocks(tape.x, w, tape.attention)
            if self.rank.kernels.dropout or w.behind2:
                fresh, _ = self._joined(fresh, out, w)
        if self.rank.kernels.recomputed == "autograd":
            return fresh
        return replace(fresh, norm1=None, norm2=None)  # cheap, and not kept a second time

    def _backward(self, dy: Operand, w: LayerWeights, tape: LayerTape) -> tuple[Operand, None]:
        again = self.recompute == "full"
        if again and not self.recomputes_inside:
            tape = self._again(tape, w)
        with self.rank.issued(3 if again and self.recomputes_inside else 2):
            dx = self._through(dy, w, tape)
        return dx, None

    def _through(self, dy: Operand, w: LayerWeights, tape: LayerTape) -> Operand:
        """Return the gradient behind both blocks."""
        rank = self.rank
        assert tape.middle is not None
        norm = self._lazy(tape.norm2, tape.middle, w.norm2, "norm2")
        dropped = rank.masked(dy, tape.mask2, "ddropout2")
        dout = self._behind_backward(dropped, tape.behind2, w.bias2, w.behind2, "mlp.bias")
        dnormed = self._second_backward(dout, norm, w, tape.mlp)
        dy = self._norm_backward(dnormed, norm, w.norm2, "norm2", dy)
        norm = self._lazy(tape.norm1, tape.x, w.norm1, "norm1")
        dropped = rank.masked(dy, tape.mask1, "ddropout1")
        dout = self._behind_backward(dropped, tape.behind1, w.bias1, w.behind1, "attention.bias")
        dnormed = self._first_backward(dout, norm, w, tape)
        return self._norm_backward(dnormed, norm, w.norm1, "norm1", dy)

    def _first_backward(
        self, dy: Operand, norm: LazyNorm, w: LayerWeights, tape: LayerTape
    ) -> Operand:
        """Return the gradient of what attention reads, or its latents."""
        down = self.down
        if down is None:
            dx: Operand = self.attention_backward(dy, norm, w, tape.attention)
            return dx
        matrices = down.bring(w)  # once: for latents that are computed again, and for dX
        latents = tape.latents
        if latents is None:
            with self.rank.at(phase="recompute"):
                latents = down.forward(norm(), w, matrices)
        gradients = self.attention_backward(dy, lambda: latents.latents, w, tape.attention)
        return down.backward(gradients, latents, norm, w, matrices)

    def _behind_backward(
        self,
        dy: Operand,
        tape: NormTape | None,
        bias: Weights | None,
        w: Weights | None,
        label: str,
    ) -> Operand:
        """Return the gradient of a block's output."""
        if w:
            assert tape is not None
            pair, name = (w.value.flat, w.gradient.flat), w.value.parts[0].name
            dy = self.rank.norm_backward(dy, tape.saved, pair, name)
        if bias:
            self.rank.bias_gradient(dy, bias.gradient.flat, label)
        return dy

    def _norm_backward(
        self, dy: Operand, norm: LazyNorm, w: Weights | None, label: str, residual: Operand
    ) -> Operand:
        """Add to the residual's gradient: in place, unless weight gradients still read it."""
        if w is None:  # there is a norm behind the block, so none of them reads it
            return self.rank.add(dy, to=residual, label=f"add.d{label}")
        pair, saved = (w.value.flat, w.gradient.flat), norm.tape.saved
        out = self.rank.tensor("dx", dy.shape) if self.rank.postpones else None
        return self.rank.norm_backward(dy, saved, pair, label, add_to=residual, out=out)

    def _lazy(self, kept: NormTape | None, x: Operand, w: Weights | None, label: str) -> LazyNorm:
        def again() -> NormTape:
            with self.rank.at(phase="recompute"):
                return self._normed(x, w, label)

        return LazyNorm(kept, again)


def _value(w: Weights | None) -> Operand | None:
    return w.value.flat if w else None
