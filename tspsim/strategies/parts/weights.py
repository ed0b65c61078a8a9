"""How the weights of a layer are cut over an axis: heads, MLP columns, vocabulary rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tspsim.files.errors import Problem
from tspsim.latent import Latent
from tspsim.mesh import Axes
from tspsim.model import ModelShape
from tspsim.program.bindings import Shard
from tspsim.program.packed import Part


@dataclass(frozen=True, slots=True)
class Cut:
    """A model's weights cut into `degree` shards over an axis.

    Parameters
    ----------
    model : ModelShape
    axis : str or None
        None, with degree 1: every rank holds everything.
    degree : int
    buckets : int
        A rank's heads are laid out in this many groups, each contiguous in the pack.
    in_turns : bool
        Heads of all shards come by on every rank, with norms over all of them: those norms are
        whole on every rank, and queries and keys of all buckets lie in front of the rest.
    """

    model: ModelShape
    axis: str | None = None
    degree: int = 1
    buckets: int = 1
    in_turns: bool = False

    @property
    def replicas(self) -> int:
        """How many neighbours hold the same key/value head (1 unless degree > kv_heads)."""
        return max(1, self.degree // self.model.kv_heads)

    @property
    def heads(self) -> int:
        """Query heads of one rank and bucket."""
        return self.model.heads // self.degree // self.buckets

    @property
    def kv_heads(self) -> int:
        """Key/value heads of one rank and bucket."""
        return self.model.kv_heads * self.replicas // self.degree // self.buckets

    def attention(self) -> list[Part]:
        """Return the parts of the attention weights, bucket by bucket: q0, k0, v0, o0, q1, ...

        Of latent attention those that are cut by heads.
        """
        parts = [part for bucket in range(self.buckets) for part in self._bucket(bucket)]
        return sorted(parts, key=lambda p: not in_front(p.name)) if self.in_turns else parts

    def _bucket(self, i: int) -> Iterator[Part]:
        if self.model.latent:
            yield from self._latent_bucket(self.model.latent, i)
            return
        h, d = self.model.hidden, self.model.head_dim
        q, kv = self.heads * d, self.kv_heads * d
        columns, rows = self._shard(1, i), self._shard(0, i)
        kv_columns, kv_rows = self._shard(1, i, self.replicas), self._shard(0, i, self.replicas)
        yield Part(f"q{i}", (h, q), "wq", columns)
        yield Part(f"k{i}", (h, kv), "wk", kv_columns)
        yield Part(f"v{i}", (h, kv), "wv", kv_columns)
        yield Part(f"o{i}", (q, h), "wo", rows)
        if self.model.biased_inputs:
            yield Part(f"bq{i}", (q,), "bq", rows)
            yield Part(f"bk{i}", (kv,), "bk", kv_rows)
            yield Part(f"bv{i}", (kv,), "bv", kv_rows)
        if self.model.sinks:
            yield Part(f"sinks{i}", (self.heads,), "sinks", rows)

    def _latent_bucket(self, latent: Latent, i: int) -> Iterator[Part]:
        """Yield the ways up of some heads: q0 and kv0, and the way back, o0."""
        h, n, columns = self.model.hidden, self.heads, self._shard(1, i)
        wide = (latent.q_rank or h, n * latent.head)
        yield Part(f"q{i}", wide, "wq_b" if latent.q_rank else "wq", columns)
        yield Part(f"kv{i}", (latent.kv_rank, n * latent.up), "wkv_b", columns)
        yield Part(f"o{i}", (n * latent.value, h), "wo", self._shard(0, i))

    def _shard(self, dim: int, bucket: int, replicas: int = 1) -> Shard:
        blocks = self.degree // replicas * self.buckets
        return Shard(dim, blocks, self.axis, self.buckets, bucket, replicas)

    def mlp(self) -> list[Part]:
        """Return the parts of the MLP's weights: (gate,) up, down, and biases of the former."""
        return self._mlp(self.model.ffn, "w", biases=self.model.mlp_bias)

    def shared(self) -> list[Part]:
        """Return the parts of the experts that all tokens go to: one MLP of their width; or none.

        They have no biases in any model that is read.
        """
        experts = self.model.experts
        return self._mlp(experts.shared, "shared") if experts and experts.shared else []

    def _mlp(self, width: int, prefix: str, *, biases: bool = False) -> list[Part]:
        h, f = self.model.hidden, width // self.degree
        columns, rows = Shard(1, self.degree, self.axis), Shard(0, self.degree, self.axis)
        ins = ("gate", "up") if self.model.mlp == "gated" else ("up",)
        into = [Part(name, (h, f), f"{prefix}_{name}", columns) for name in ins]
        added = [Part(f"b{name}", (f,), f"b_{name}", rows) for name in ins if biases]
        return [*into, Part("down", (f, h), f"{prefix}_down", rows), *added]

    def router(self) -> list[Part]:
        """Return what is whole on every rank: the router, and the shared experts' gate."""
        experts, h = self.model.experts, self.model.hidden
        assert experts is not None
        parts = [Part("router", (h, experts.count), "router", Shard())]
        if experts.biases:
            parts.append(Part("router_bias", (experts.count,), "router_bias", Shard()))
        if experts.shared_gate:
            parts.append(Part("scale", (h, 1), "shared_scale", Shard()))
        return parts

    def output_bias(self, block: Literal["attention", "mlp"]) -> list[Part]:
        """Return the bias that a block's output gets, the same on every rank; or none."""
        has = self.model.attention_bias if block == "attention" else self.model.mlp_bias
        name = "bo" if block == "attention" else "b_down"
        return [Part(name, (self.model.hidden,), name, Shard())] if has else []

    def table(self, name: str) -> Part:
        """Return a vocabulary table, rows cut over the axis."""
        shape = (self.model.vocab // self.degree, self.model.hidden)
        return Part(name, shape, name, Shard(0, self.degree, self.axis), outputs=0)

    def norm(self, name: str) -> Part:
        """Return a norm's parameters, the same on every rank."""
        return Part(name, (self.model.norm_parameters,), name, Shard())

    def block_norm(self, block: int, where: Literal["before", "behind"]) -> list[Part]:
        """Return the norm of a block's input or output, where the model has one."""
        name = f"norm{block}" + ("_out" if where == "behind" else "")
        return [self.norm(name)] if self.model.norm_at in (where, "both") else []

    def qk_norm(self) -> list[Part]:
        """Return the norms of queries and keys: of a head on every rank, of projections cut."""
        degree, vectors = self.degree, self.model.norm_parameters // self.model.hidden
        cuts = (Shard(), Shard())
        if self.model.qk_norm == "whole" and not self.in_turns:
            repeats = self.replicas
            cuts = (
                Shard(0, degree, self.axis),
                Shard(0, degree // repeats, self.axis, replicas=repeats),
            )
        norms = zip(("q_norm", "k_norm"), self.model.qk_norm_widths, cuts, strict=True)
        return [Part(n, (vectors * w // cut.blocks,), n, cut) for n, w, cut in norms if w]

    def problems(self, key: str, replicate: bool) -> Iterator[Problem]:
        """Yield what does not divide; `key` is the strategy's option that gives the degree."""
        model, n, path = self.model, self.degree, ("strategy", key)
        for what, value in self._divided():
            if value % n:
                yield Problem(path, f"{n} does not divide the model's {value} {what}")
        if model.vocab % n:
            padded = -(-model.vocab // n) * n
            message = f"{n} does not divide the model's vocab {model.vocab}; pad it to {padded}"
            yield Problem(path, message)
        yield from self._kv_problems(path, replicate)

    def _divided(self) -> Iterator[tuple[str, int]]:
        """Yield the sizes that are cut: an MLP's where a layer has one."""
        model, experts = self.model, self.model.experts
        yield "heads", model.heads
        if any(model.experts_in(layer) is None for layer in range(model.layers)):
            yield "ffn", model.ffn
        if experts is not None and experts.shared:
            yield "experts.shared", experts.shared

    def _kv_problems(self, path: tuple[str, ...], replicate: bool) -> Iterator[Problem]:
        kv, n = self.model.kv_heads, self.degree
        if kv % n and n % kv:
            yield Problem(path, f"{n} and the model's {kv} kv_heads do not divide each other")
        elif n > kv and not replicate:
            hint = f"set strategy.replicate_kv_heads to hold every head {n // kv} times"
            yield Problem(path, f"{n} is more than the model's {kv} kv_heads; {hint}")


def in_front(name: str) -> bool:
    """Whether a part of attention is of queries or keys: a matrix, or its bias."""
    return name.removeprefix("b")[0] in "qk"


def expert_parts(
    model: ModelShape,
    axes: Axes | None,
    degree: int,
    *,
    columns: bool,
    cut: Axes | None = None,
    ways: int = 1,
) -> list[Part]:
    """Return a rank's part of the experts of a layer, matrices and biases stacked over experts.

    Of experts that are cut by columns the bias of the output is cut by its own: each rank adds some
    of it, and the sum over ranks has all of it once.

    Parameters
    ----------
    model : ModelShape
    axes : str, tuple of str or None
    degree : int
        Ranks that they are cut over.
    columns : bool
        Every rank has some columns of each expert, instead of some experts.
    cut : str, tuple of str or None
        Of these experts a rank has some columns, too: the axes that they are cut over.
    ways : int
        Ranks along these.
    """
    experts, h = model.experts, model.hidden
    assert experts is not None
    count, f = experts.count // (1 if columns else degree), experts.width
    f //= degree if columns else ways
    ins = ("gate", "up") if model.mlp == "gated" else ("up",)
    into, out = (Shard(dim if columns else 0, degree, axes) for dim in (2, 1))
    if ways > 1:
        into, out = (Shard(dim, ways, cut, of=shard) for dim, shard in ((2, into), (1, out)))
    parts = [Part(name, (count, h, f), f"experts_{name}", into, outputs=0) for name in ins]
    parts.append(Part("down", (count, f, h), "experts_down", out, outputs=0))
    if experts.biases:
        cuts = into._replace(dim=1) if columns or ways > 1 else into
        width = h // (degree if columns else ways)
        biased = [(name, f) for name in ins] + [("down", width)]
        parts += [
            Part(f"b{name}", (count, n), f"experts_{name}_bias", cuts, outputs=0)
            for name, n in biased
        ]
    return parts
