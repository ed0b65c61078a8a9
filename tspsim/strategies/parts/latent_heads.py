"""Queries, keys and values of heads from latents: the ways up, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tspsim.files.errors import Problem
from tspsim.model import ModelShape
from tspsim.program.axis import Axis
from tspsim.program.cached import Rows
from tspsim.program.kinds.latent import JoinKeysValues, SplitKeysValues
from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape
from tspsim.strategies.parts.head_norms import NormWeights
from tspsim.strategies.parts.latents import Latents
from tspsim.strategies.parts.projections import Bucket, Gradients


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
        kv, shared = _given(x)
        gathered = self.axis.all_gather(kv, shared, dim=1, lane="kv", label="latent")
        if self.axis.degree > 1:
            gathered = self.rank.reorder(gathered, self.tokens, to="logical")
        return Latents(x.queries, *gathered)

    def own(self, gradients: Latents) -> Latents:
        """Return the gradients of this rank's tokens, summed over the ranks that attend to them."""
        pair = _given(gradients)
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

    def __init__(
        self, rank: Rank, tokens: Tokens | Rows, gather: LatentGather | None = None
    ) -> None:
        assert rank.model.latent is not None
        self.rank, self.tokens, self.latent = rank, tokens, rank.model.latent
        self.gather = gather

    def spread(self, x: Latents) -> Latents:
        """Return latents with those that are gathered."""
        return self.gather.whole(x) if self.gather else x

    def collect(self, dx: Latents) -> Latents:
        """Return the gradients of the rank's own tokens' latents."""
        return self.gather.own(dx) if self.gather else dx

    def queries(self, x: Latents, to: Bucket) -> Operand:
        """Return the queries of one bucket of heads, positions applied to a part of each."""
        q = self.rank.matmul(x.queries, to.w[f"q{to.index}"], "q")
        self._rotary(q, "rotary.q", inverse=False)
        return q

    def _rotary(self, x: Operand, label: str, *, inverse: bool) -> None:
        part = (self.latent.head, range(self.latent.nope, self.latent.head))
        self.rank.rotary(x, self.tokens, label, inverse=inverse, part=part)

    def keys_values(self, x: Latents, to: Bucket) -> tuple[Operand, Operand]:
        """Return k and v of one bucket; the key that heads share is in every head's."""
        assert x.shared is not None
        kv = self.rank.matmul(x.kv, to.w[f"kv{to.index}"], "kv")
        heads, latent = kv.shape[-1] // self.latent.up, self.latent
        k = self.rank.tensor("k", (*kv.shape[:-1], heads * latent.head))
        v = self.rank.tensor("v", (*kv.shape[:-1], heads * latent.value))
        kind = SplitKeysValues(heads, latent.nope)
        self.rank.compute(kind, (kv, x.shared), (k, v), "split.kv")
        return k, v

    def output(self, o: Operand, to: Bucket) -> Operand:  # noqa: ARG002
        """Return the heads' outputs as the way back reads them: as they are."""
        return o

    def saves(self, x: Latents, to: Bucket) -> None:
        """Record nothing: heads have no norms."""

    def before_positions(
        self,
        gradients: Gradients,
        tape: CoreTape,  # noqa: ARG002
        norms: NormWeights,  # noqa: ARG002
    ) -> Gradients:
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
        gradients: Gradients,
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
        gradients: Gradients,
        into: Packed,
        bucket: int,
        *,
        add: bool = True,
    ) -> None:
        """Add (or write) the gradients of the ways up."""
        for name, read, gradient in zip(("q", "kv"), x.operands, gradients, strict=False):
            self.rank.weight_gradient(read, gradient, into[f"{name}{bucket}"], name, add=add)


def _given(x: Latents) -> tuple[Operand, ...]:
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
