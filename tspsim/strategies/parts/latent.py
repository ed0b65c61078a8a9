"""Latent attention on a rank: the ways down, which all heads share, and the ways up, by heads.

The ways down run between blocks, as norms do: on a rank's own tokens, so that it is latents which
are gathered where a block wants more tokens, and gradients of latents which are summed over heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tspsim.files.errors import Problem
from tspsim.model import ModelShape
from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.bindings import Shard
from tspsim.program.kinds.latent import (
    JoinColumns,
    JoinKeysValues,
    SplitColumns,
    SplitKeysValues,
)
from tspsim.program.packed import Packed, Part, Weights
from tspsim.program.rank import NormTape, Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.parts.layers import LayerWeights, Normed


@dataclass(frozen=True, slots=True)
class Latents:
    """What the ways up read of some tokens; or the gradients of that.

    Parameters
    ----------
    queries : Operand
        The latent of queries; the stream, where queries have none.
    kv : Operand
        That of keys and values.
    shared : Operand or None
        The part of a key that all heads share, turned by positions; None: it is not read.
    """

    queries: Operand
    kv: Operand
    shared: Operand | None

    @property
    def operands(self) -> tuple[Operand, ...]:
        """All that are there."""
        return tuple(x for x in (self.queries, self.kv, self.shared) if x)


def through(x: Operand | Latents, call: Callable[..., tuple[Operand, ...]]) -> Operand | Latents:
    """Return what a collective makes of an operand, or of latents in one message."""
    if not isinstance(x, Latents):
        return call(x)[0]
    queries, kv, *shared = call(*x.operands)
    return Latents(queries, kv, *shared or (None,))


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
        rank, latent, norms = self.rank, self.latent, _given(w.latent_norms).value
        queries = None
        if latent.q_rank:
            down = rank.matmul(x, matrices["wq_a"], "q_a")
            queries = rank.norm(down, norms["q_norm"], "q_norm")
        both = rank.matmul(x, matrices["wkv_a"], "kv_a")
        own = rank.tensor("kv_latent", (*x.shape[:-1], latent.kv_rank))
        shared = rank.tensor("k_shared", (*x.shape[:-1], latent.rope))
        rank.compute(SplitColumns(latent.kv_rank), (both,), (own, shared), "split.kv_a")
        rank.rotary(shared, self.place, "rotary.k", part=(latent.rope, 0))
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
        rank.rotary(gradients.shared, self.place, "rotary.dk", inverse=True, part=(rope, 0))
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

    A rank holds 1/D of them, as of everything else under TSP; whole on every rank they would be 15
    of DeepSeek-V3's 187 M parameters a layer, with their optimizer states. All turns read the
    latents, so the matrices are gathered once, and not broadcast owner by owner: that moves as
    much, and no partial sums. Cut by rows, gathered ones lie as the matrix does.

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


class LatentGather:
    """Latents of all tokens on every rank of an axis, there to be expanded to keys and values.

    A token's latent and shared key travel in place of all heads' keys and values: of DeepSeek-V3
    576 elements, not 40,960. Every rank expands all tokens for it, again in backward.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        This rank's tokens, cut over the axis.
    axis : Axis
    """

    def __init__(self, rank: Rank, tokens: Tokens, axis: Axis) -> None:
        self.rank, self.tokens, self.axis = rank, tokens, axis

    def whole(self, x: Latents) -> Latents:
        """Return the latents with those of keys and values of all tokens, in logical order."""
        kv, shared = _given_pair(x)
        gathered = self.axis.all_gather(kv, shared, dim=1, lane="kv", label="latent")
        if self.axis.degree > 1:
            gathered = self.rank.reorder(gathered, self.tokens, to="logical")
        return Latents(x.queries, *gathered)

    def own(self, gradients: Latents) -> Latents:
        """Return the gradients of this rank's tokens, summed over the ranks that attend to them."""
        pair = _given_pair(gradients)
        if self.axis.degree > 1:
            pair = self.rank.reorder(pair, self.tokens, to="gathered")
        sums = self.axis.reduce_scatter(*pair, dim=1, lane="kv", label="dlatent")
        return Latents(gradients.queries, *sums)


class LatentProjections:
    """Queries, keys and values of one group of heads from the rank's latents, and back.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        Positions of the rows.
    gather : LatentGather, optional
        Brings the latents that keys and values of all tokens are made of.
    """

    def __init__(self, rank: Rank, tokens: Tokens, gather: LatentGather | None = None) -> None:
        assert rank.model.latent is not None
        self.rank, self.tokens, self.latent = rank, tokens, rank.model.latent
        self.gather = gather

    def spread(self, x: Latents) -> Latents:
        """Return latents with those that are gathered."""
        return self.gather.whole(x) if self.gather else x

    def collect(self, dx: Latents) -> Latents:
        """Return the gradients of the rank's own tokens' latents."""
        return self.gather.own(dx) if self.gather else dx

    def queries(self, x: Latents, w: Packed, bucket: int) -> Operand:
        """Return the queries of one bucket of heads, positions applied to a part of each."""
        q = self.rank.matmul(x.queries, w[f"q{bucket}"], "q")
        self._rotary(q, "rotary.q", inverse=False)
        return q

    def _rotary(self, x: Operand, label: str, *, inverse: bool) -> None:
        part = (self.latent.head, self.latent.nope)
        self.rank.rotary(x, self.tokens, label, inverse=inverse, part=part)

    def keys_values(self, x: Latents, w: Packed, bucket: int) -> tuple[Operand, Operand]:
        """Return k and v of one bucket; the key that heads share is in every head's."""
        assert x.shared is not None
        kv = self.rank.matmul(x.kv, w[f"kv{bucket}"], "kv")
        heads, latent = kv.shape[-1] // self.latent.up, self.latent
        k = self.rank.tensor("k", (*kv.shape[:-1], heads * latent.head))
        v = self.rank.tensor("v", (*kv.shape[:-1], heads * latent.value))
        kind = SplitKeysValues(heads, latent.nope)
        self.rank.compute(kind, (kv, x.shared), (k, v), "split.kv")
        return k, v

    def unrotate(
        self, gradients: tuple[Operand, Operand, Operand]
    ) -> tuple[Operand, Operand, Operand]:
        """Return the gradients of q, of k and v as one product gave them, and of the shared key."""
        dq, dk, dv = gradients
        self._rotary(dq, "rotary.dq", inverse=True)
        heads, latent = dv.shape[-1] // self.latent.value, self.latent
        dkv = self.rank.tensor("dkv", (*dv.shape[:-1], heads * latent.up))
        shared = self.rank.tensor("dk_shared", (*dv.shape[:-1], latent.rope))
        kind = JoinKeysValues(heads, latent.nope)
        self.rank.compute(kind, (dk, dv), (dkv, shared), "join.dkv")
        return dq, dkv, shared

    def input_gradient(
        self,
        gradients: tuple[Operand, Operand, Operand],
        w: Packed,
        bucket: int,
        add_to: Latents | None = None,
    ) -> Latents:
        """Return the gradients of the latents, added to those of other heads."""
        rank, (dq, dkv, shared) = self.rank, gradients
        wq, wkv = w[f"q{bucket}"], w[f"kv{bucket}"]
        if add_to is None:
            queries = rank.matmul(dq, wq, "dx.q", transpose_b=True)
            return Latents(queries, rank.matmul(dkv, wkv, "dx.kv", transpose_b=True), shared)
        assert add_to.shared is not None
        rank.matmul(dq, wq, "dx.q", add_to=add_to.queries, transpose_b=True)
        rank.matmul(dkv, wkv, "dx.kv", add_to=add_to.kv, transpose_b=True)
        rank.add(shared, to=add_to.shared, label="add.dk_shared")
        return add_to

    def weighed(self, x: Latents) -> Latents:
        """Return what weight gradients read of latents: no way up reads the shared key."""
        return replace(x, shared=None)

    def weight_gradients(
        self,
        x: Latents,
        gradients: tuple[Operand, Operand, Operand],
        into: Packed,
        bucket: int,
        *,
        add: bool = True,
    ) -> None:
        """Add (or write) the gradients of the ways up."""
        for name, read, gradient in zip(("q", "kv"), x.operands, gradients, strict=False):
            self.rank.weight_gradient(read, gradient, into[f"{name}{bucket}"], name, add=add)


def _given_pair(x: Latents) -> tuple[Operand, ...]:
    assert x.shared is not None
    return x.kv, x.shared


def gather_choices(model: ModelShape) -> dict[str, tuple[bool, ...]]:
    """Return what a search tries of gathering latents: both ways, where there are any."""
    return {"gather_latent": (False, True)} if model.latent else {}


def gather_problems(model: ModelShape, kept: bool, kv: str = "all_gather") -> Iterator[Problem]:
    """Yield why latents cannot be gathered in place of keys and values."""
    path = ("strategy", "gather_latent")
    if not model.latent:
        message = "found true; the model has no latent attention: leave it out, or see model.latent"
        yield Problem(path, message)
    if kept:
        yield Problem(
            path, "found true; keep_gathered_kv keeps what is not gathered: leave one out"
        )
    if kv != "all_gather":
        yield Problem(path, f"found true; kv: {kv} gathers nothing: use kv: all_gather")


def down_problems(model: ModelShape, key: str, degree: int) -> Iterator[Problem]:
    """Yield when the rows of the ways down do not divide."""
    if model.latent and model.hidden % degree:
        message = f"{degree} does not divide the model's hidden {model.hidden}: latent attention's "
        yield Problem(("strategy", key), f"{message}ways down are cut by rows")


def _given(w: Weights | None) -> Weights:
    assert w is not None
    return w
