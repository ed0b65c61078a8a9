"""How the weights of a layer are cut over an axis: heads, MLP columns, vocabulary rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tspsim.files.errors import Problem
from tspsim.latent import Latent
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
    """

    model: ModelShape
    axis: str | None = None
    degree: int = 1
    buckets: int = 1

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
        return [part for bucket in range(self.buckets) for part in self._bucket(bucket)]

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
        h, f = self.model.hidden, self.model.ffn // self.degree
        columns, rows = Shard(1, self.degree, self.axis), Shard(0, self.degree, self.axis)
        ins = ("gate", "up") if self.model.mlp == "gated" else ("up",)
        into = [Part(name, (h, f), f"w_{name}", columns) for name in ins]
        biases = [Part(f"b{name}", (f,), f"b_{name}", rows) for name in ins]
        down = Part("down", (f, h), "w_down", rows)
        return [*into, down, *(biases if self.model.mlp_bias else [])]

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

    def problems(self, key: str, replicate: bool) -> Iterator[Problem]:
        """Yield what does not divide; `key` is the strategy's option that gives the degree."""
        model, n, path = self.model, self.degree, ("strategy", key)
        for what, value in (("heads", model.heads), ("ffn", model.ffn)):
            if value % n:
                yield Problem(path, f"{n} does not divide the model's {value} {what}")
        if model.vocab % n:
            padded = -(-model.vocab // n) * n
            message = f"{n} does not divide the model's vocab {model.vocab}; pad it to {padded}"
            yield Problem(path, message)
        yield from self._kv_problems(path, replicate)

    def _kv_problems(self, path: tuple[str, ...], replicate: bool) -> Iterator[Problem]:
        kv, n = self.model.kv_heads, self.degree
        if kv % n and n % kv:
            yield Problem(path, f"{n} and the model's {kv} kv_heads do not divide each other")
        elif n > kv and not replicate:
            hint = f"set strategy.replicate_kv_heads to hold every head {n // kv} times"
            yield Problem(path, f"{n} is more than the model's {kv} kv_heads; {hint}")
