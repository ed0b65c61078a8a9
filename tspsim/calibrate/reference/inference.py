"""Steps of inference: prompts, and one token after another, against a cache of keys and values.

TP caches its heads, SP some tokens, both some tokens of some heads. Under TSP a prompt's weights
travel as in training, each rank caching all heads of its tokens; then neither weights nor cache
move: a rank multiplies all new tokens by its own shard, and heads meet the cache (`HeadsGathered`).
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.cache import Cache
from tspsim.calibrate.reference.cached import (
    CachedExchange,
    HeadsGathered,
    KeysGathered,
    Local,
    QueriesGathered,
)
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Decoder, Layer
from tspsim.calibrate.reference.mesh import Mesh
from tspsim.calibrate.reference.places import Layout, Sequence, Span, Step
from tspsim.calibrate.reference.tp_sp import MeshLayer
from tspsim.calibrate.reference.tsp import TspLayer

Passes = Literal["kv", "queries"]


class Way(NamedTuple):
    """How steps of one sort run.

    Attributes
    ----------
    layers : list of Layer
    exchanges : list of CachedExchange
        One a layer.
    rows : Layout
        How new tokens lie.
    """

    layers: list[Layer]
    exchanges: list[CachedExchange]
    rows: Layout


class Result(NamedTuple):
    """What a step gives.

    Attributes
    ----------
    spans : list of list of Span
        Where every sequence's new tokens are among this rank's rows.
    output : Tensor
        The last layer's output of these rows, [1, rows, hidden].
    logits : Tensor
        Of every sequence's last token, [sequences, vocab], on every rank.
    lengths : tuple of int
        Tokens of every sequence behind the step.
    """

    spans: list[list[Span]]
    output: Tensor
    logits: Tensor
    lengths: tuple[int, ...]


class Inference(nn.Module):
    """One rank's part of a model with a vocabulary, and its cache.

    Parameters
    ----------
    job : Job
        Its sequence, batch and recomputation do not matter here.
    mesh : Mesh
    passes : {"kv", "queries"}, optional
        What travels between ranks that hold other tokens; when not given queries where tokens come
        singly, else K/V.
    copies : int
        Neighbours so many at a time have the same key/value head: the shape counts it for each.
    device : str
    """

    def __init__(
        self,
        job: Job,
        mesh: Mesh,
        passes: Passes | None = None,
        copies: int = 1,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.job, self.mesh = replace(job, recompute="full"), mesh
        self.copies, self.folded = copies, job.strategy == "tsp"
        self.model = Decoder(self.job, mesh, TspLayer if self.folded else MeshLayer, device)
        assert self.model.ends is not None
        self.ends = self.model.ends
        layers = [layer for layer in self.model.layers if isinstance(layer, Layer)]
        self.layout = Layout(mesh.spread.degree, job.causal == "zigzag")
        self.caches = [self._cache(layer) for layer in layers]
        prompts = QueriesGathered if passes == "queries" else KeysGathered
        singles = KeysGathered if passes == "kv" else QueriesGathered
        self._prompts = self._way(layers, prompts, self.layout)
        self._singles = self._way(layers, singles, self.layout)
        if self.folded:
            self._singles = self._way(self._staying(layers), HeadsGathered, Layout())
        self.sequences: tuple[Sequence, ...] = ()

    def _cache(self, layer: Layer) -> Cache:
        groups = self.mesh.cut.degree // self.copies if self.folded else 1
        like = layer.weights.flat("norms")
        width = self.job.shape.kv_heads * self.job.shape.d // self.job.cut
        return Cache(self.layout, self.mesh.spread.coordinate, like, groups, width)

    def _way(self, layers: list[Layer], kind: type[CachedExchange], rows: Layout) -> Way:
        alone = self.mesh.spread.degree == 1
        kind, copies = (Local, 1) if alone else (kind, self.copies if self.folded else 1)
        each = [kind(self.job, self.mesh.spread, cache, copies) for cache in self.caches]
        return Way(layers, each, rows)

    def _staying(self, layers: list[Layer]) -> list[Layer]:
        """Return layers that leave the same weights where they are."""
        found: list[Layer] = [MeshLayer(self.job, self.mesh, "meta") for _ in layers]
        for layer, travels in zip(found, layers, strict=True):
            layer.weights = travels.weights
        return found

    def load(self, dense: dict[str, Tensor]) -> None:
        """Take this rank's shards of a dense model's weights."""
        self.model.load(dense)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values that this rank keeps."""
        return sum(cache.bytes for cache in self.caches)

    def resume(self, sequences: tuple[Sequence, ...]) -> None:
        """Begin behind prompts that are cached: zeros in their place."""
        self.sequences = sequences
        for cache in self.caches:
            cache.reserve(sequences)

    @torch.no_grad()
    def step(self, ids: Many[Tensor], *, decodes: bool) -> Result:
        """Compute new tokens of every sequence.

        Parameters
        ----------
        ids : sequence of Tensor
            A sequence's new tokens, [tokens].
        decodes : bool
            One token each; else pieces of prompts.
        """
        before = self.sequences or tuple(Sequence() for _ in ids)
        step = Step(before, tuple(map(len, ids)), decodes)
        way = self._singles if decodes else self._prompts
        spans = step.asked(way.rows, self.mesh.spread.coordinate)
        self._begin(step, way)
        x = self._embedded(step, way, spans, ids)
        for layer in way.layers:
            x, _ = layer.run(x)
        lengths = tuple(sequence.length for sequence in step.after)
        return Result(spans, x, self._logits(x, way, spans), lengths)

    def _begin(self, step: Step, way: Way) -> None:
        """Tell everyone what the step is, and make room for it."""
        self.resume(step.after)
        for exchange, layer in zip(way.exchanges, way.layers, strict=True):
            exchange.step, exchange.rows = step, way.rows
            layer.exchange = exchange

    def _embedded(self, step: Step, way: Way, spans: list[list[Span]], ids: Many[Tensor]) -> Tensor:
        """Return the first layer's input; tell layers the positions."""
        mine, positions = ids[0].new_zeros(2, step.rows(way.rows))
        for given, some, sequence in zip(ids, spans, step.before, strict=True):
            for span in some:
                at = slice(span.start - sequence.length, span.stop - sequence.length)
                mine[span.rows], positions[span.rows] = given[at], torch.arange(*span[1:])
        for layer in way.layers:
            layer.positions = positions
        self.ends.gathers = self.folded and way.rows.degree > 1
        return self.ends.embed(mine.unsqueeze(0))

    def _logits(self, y: Tensor, way: Way, spans: list[list[Span]]) -> Tensor:
        last = y.new_zeros(len(spans), y.shape[-1])
        for number, (some, sequence) in enumerate(zip(spans, self.sequences, strict=True)):
            for span in some:
                if span.stop == sequence.length:
                    last[number] = y[0, span.rows.stop - 1]
        if way.rows.degree > 1:
            last = self.mesh.spread.all_reduce(last, "activations").wait()
        normed = ops.norm(last, self.ends.weights.flat("final_norm"))
        mine = ops.matmul(normed, self.ends.weights.value("head")["head"].t())
        return self.mesh.cut.all_gather(mine, "activations").wait().transpose(0, 1).flatten(1)
