"""Latent attention's ways down, which all heads share: they run between blocks, as norms do.

So it is latents which are gathered where a block wants the tokens of other ranks, and gradients of
latents which are summed over heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tspsim.files.errors import Problem
from tspsim.model import ModelShape
from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.bindings import Shard
from tspsim.program.kinds.latent import JoinColumns, SplitColumns
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import NormTape, Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.latents import Latents
from tspsim.strategies.parts.layers import LayerWeights, Normed


@dataclass(frozen=True, slots=True)
class DownTape:
    """What the ways down leave: latents, and what the backward of their norms reads."""

    latents: Latents
    kv: NormTape
    queries: NormTape | None = None


class Down:
    """The ways down to latents, with matrices that are whole on every rank.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
        The tokens between blocks.
    """

    def __init__(self, rank: Rank, place: ActivationShard) -> None:
        assert rank.model.latent is not None
        self.rank, self.place, self.latent = rank, place, rank.model.latent
        self.shapes = self.latent.down(rank.model.hidden)

    # ---- weights -----------------------------------------------------------------------------

    def matrices(self) -> list[Part]:
        """Return the parts of the matrices."""
        return [Part(name, shape, name, Shard()) for name, shape in self.shapes.items()]

    def norms(self) -> list[Part]:
        """Return the norms of latents, the same on every rank."""
        elements = self.rank.model.norm_elements
        return [Part(n, (elements(w),), n, Shard()) for n, w in self.latent.norms.items()]

    def bring(self, w: LayerWeights) -> Mapping[str, Operand]:
        """Return the whole matrices, by name."""
        return {part.name: whole for part, whole in _given(w.down).value.views()}

    # ---- forward and backward ----------------------------------------------------------------

    def forward(self, x: Operand, w: LayerWeights, matrices: Mapping[str, Operand]) -> DownTape:
        """Return the latents of some tokens, and what backward reads."""
        return self.latents(x, lambda name: self.rank.matmul(x, matrices[name], name[1:]), w)

    def latents(self, x: Operand, product: Callable[[str], Operand], w: LayerWeights) -> DownTape:
        """Return the latents from the products with the matrices, by name."""
        rank, latent, norms = self.rank, self.latent, _given(w.latent_norms).value
        queries = None
        if latent.q_rank:
            queries = rank.norm(product("wq_a"), norms["q_norm"], "q_norm")
        both = product("wkv_a")
        own = rank.tensor("kv_latent", (*x.shape[:-1], latent.kv_rank))
        shared = rank.tensor("k_shared", (*x.shape[:-1], latent.rope))
        rank.compute(SplitColumns(latent.kv_rank), (both,), (own, shared), "split.kv_a")
        rank.rotary(shared, self.place, "rotary.k", part=(latent.rope, None))
        kv = rank.norm(own, norms["kv_norm"], "kv_norm")
        return DownTape(Latents(queries.output if queries else x, kv.output, shared), kv, queries)

    def backward(
        self,
        gradients: Latents,
        tape: DownTape,
        normed: Normed,
        w: LayerWeights,
        matrices: Mapping[str, Operand],
    ) -> Operand:
        """Return the gradient of the stream, from those of the latents summed over heads."""
        rank = self.rank
        downs = {"wkv_a": self._kv_gradient(gradients, tape, w)}
        dx = None if tape.queries else gradients.queries
        if tape.queries:
            downs["wq_a"] = self._normed(gradients.queries, tape.queries, w, "q_norm")
        for name, gradient in downs.items():
            label = f"dx.{name[1:]}"
            dx = rank.matmul(gradient, matrices[name], label, add_to=dx, transpose_b=True)
        rank.weighs(lambda: self.weigh(normed(), downs, w))
        assert dx is not None
        return dx

    def _kv_gradient(self, gradients: Latents, tape: DownTape, w: LayerWeights) -> Operand:
        """Return the gradient of the latent and of the shared key side by side, as one product."""
        rank, rope = self.rank, self.latent.rope
        assert gradients.shared is not None
        rank.rotary(gradients.shared, self.place, "rotary.dk", inverse=True, part=(rope, None))
        own = self._normed(gradients.kv, tape.kv, w, "kv_norm")
        out = rank.tensor("dkv_a", (*own.shape[:-1], own.shape[-1] + rope))
        rank.compute(JoinColumns(), (own, gradients.shared), (out,), "join.dkv_a")
        return out

    def _normed(self, dy: Operand, tape: NormTape, w: LayerWeights, name: str) -> Operand:
        norms = _given(w.latent_norms)
        pair = (norms.value[name], norms.gradient[name])
        return self.rank.norm_backward(dy, tape.saved, pair, name)

    def weigh(self, x: Operand, downs: Mapping[str, Operand], w: LayerWeights) -> None:
        """Record the gradients of the matrices."""
        for name, gradient in downs.items():
            self.rank.weight_gradient(x, gradient, _given(w.down).gradient[name], name[1:])


class CutDown(Down):
    """The ways down with matrices whose rows are cut over an axis that cuts the tokens too.

    Whole on every rank they would be held D times (15 of DeepSeek-V3's 187 M parameters a layer,
    with gradients and optimizer states), to save moving 1/12 of attention's weights. TSP holds 1/D
    of everything and moves it, so they are cut. All turns read the same latents: the matrices are
    gathered once, and not broadcast owner by owner, which would move as much. Cut by rows, what is
    gathered is the matrix; cut by columns it would have to be put together.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    axis : Axis
    """

    def __init__(self, rank: Rank, place: ActivationShard, axis: Axis) -> None:
        super().__init__(rank, place)
        self.axis = axis

    def matrices(self) -> list[Part]:
        """Return the parts of the matrices: some rows of each."""
        degree, shard = self.axis.degree, Shard(0, self.axis.degree, self.axis.name)
        return [
            Part(name, (rows // degree, columns), name, shard)
            for name, (rows, columns) in self.shapes.items()
        ]

    def bring(self, w: LayerWeights) -> Mapping[str, Operand]:
        """Gather the matrices."""
        shards = [shard for _, shard in _given(w.down).value.views()]
        whole = self.axis.all_gather(*shards, dim=0, lane="latent", label="weights.latent")
        return dict(zip(self.shapes, whole, strict=True))

    def weigh(self, x: Operand, downs: Mapping[str, Operand], w: LayerWeights) -> None:
        """Record the gradients; each rank gets the sum of its own rows'."""
        if self.axis.degree == 1:
            super().weigh(x, downs, w)
            return
        rank, own = self.rank, _given(w.down).gradient
        wholes = {n: rank.tensor("dlatent", self.shapes[n], "workspace") for n in downs}
        for name, gradient in downs.items():
            rank.weight_gradient(x, gradient, wholes[name], name[1:], add=False)
        sums = self.axis.reduce_scatter(
            *wholes.values(), dim=0, lane="gradients", label="dweights.latent"
        )
        for name, total in zip(wholes, sums, strict=True):
            rank.add(total, to=own[name], label=f"add.d{name[1:]}")


def down_problems(model: ModelShape, key: str, degree: int) -> Iterator[Problem]:
    """Yield when the rows of the ways down do not divide."""
    if model.latent and model.hidden % degree:
        message = f"{degree} does not divide the model's hidden {model.hidden}: latent attention's "
        yield Problem(("strategy", key), f"{message}ways down are cut by rows")


def _given(w: Weights | None) -> Weights:
    assert w is not None
    return w
