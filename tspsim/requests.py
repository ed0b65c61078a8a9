"""Sequences of an engine of inference: what of each is in the cache, and what a step computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence, as a step finds it.

    Parameters
    ----------
    new : int
        Tokens that the step computes.
    parts : tuple of int
        Tokens of its prompt that are in the cache, piece by piece as they were computed: a piece is
        laid out over ranks by itself.
    decoded : int
        Tokens behind these that came one at a time.
    decodes : bool
        The new tokens come one at a time, too: they are no piece of a prompt.
    """

    new: int
    parts: tuple[int, ...] = ()
    decoded: int = 0
    decodes: bool = False

    @property
    def cached(self) -> int:
        """Tokens that are in the cache."""
        return sum(self.parts) + self.decoded

    @property
    def length(self) -> int:
        """Tokens behind the step."""
        return self.cached + self.new


@dataclass(frozen=True, slots=True)
class CacheForm:
    """How a cache holds keys and values.

    Parameters
    ----------
    dtype : str
        Type of its elements; as activations where it is empty.
    block : int
        Tokens of a page: the last page of a sequence is reserved whole (PagedAttention, arXiv
        2309.06180).
    """

    dtype: str = ""
    block: int = 16


#: Which block of a layer a pack of weights is of.
_BLOCKS = {
    "attention": "attention", "latent": "attention", "mlp": "mlp", "shared": "mlp", "experts": "mlp"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WeightForm:
    """What matrices are kept in and multiply, where that is narrower than activations.

    Parameters
    ----------
    attention, mlp : str
        Those of a layer's two blocks, experts included; as activations where it is empty. Norms,
        embedding and head stay as they are.
    """

    attention: str = ""
    mlp: str = ""

    def of(self, pack: str) -> str:
        """Return that of a pack of weights by its name; empty: as it is."""
        block = _BLOCKS.get(pack)
        return str(getattr(self, block)) if block else ""


#: Everything as activations are.
AS_IT_IS = WeightForm()


@dataclass(frozen=True, slots=True)
class Requests:
    """The sequences of one micro-batch.

    Parameters
    ----------
    each : tuple of Request
    cache : CacheForm
    """

    each: tuple[Request, ...]
    cache: CacheForm = CacheForm()

    @property
    def new(self) -> int:
        """Tokens that the step computes."""
        return sum(request.new for request in self.each)

    @property
    def cached(self) -> int:
        """Tokens that are in the cache before it."""
        return sum(request.cached for request in self.each)

    @property
    def text(self) -> str:
        """What the step does, in words."""
        many = len(self.each)
        count = f"{many:,} sequences" if many > 1 else "1 sequence"
        each = " each" if many > 1 else ""
        cached = f"{_range(r.cached for r in self.each)} tokens cached{each}"
        if self.decodes:
            return f"decode of {count}, {cached}"
        new = f"prefill of {count}, {_range(r.new for r in self.each)} tokens{each}"
        return f"{new}, {cached}" if self.resumes else new

    @property
    def decodes(self) -> bool:
        """Whether some new tokens come one at a time."""
        return any(request.decodes for request in self.each)

    @property
    def resumes(self) -> bool:
        """Whether something is in the cache."""
        return any(request.cached for request in self.each)


def _range(counts: Iterable[int]) -> str:
    """Return a number, or the least and the most of several."""
    ends = sorted(set(counts))
    return " to ".join(f"{count:,}" for count in dict.fromkeys((ends[0], ends[-1])))


@dataclass(frozen=True, slots=True)
class Step:
    """One of several steps of inference.

    Parameters
    ----------
    phase : {"prefill", "decode"}
        Whether it computes prompts, or what comes behind them.
    number : int
        Of those of its phase, from 0.
    """

    phase: Literal["prefill", "decode"]
    number: int


@dataclass(frozen=True, slots=True)
class Series:
    """Steps of inference, one after another: prompts, piece by piece, and the tokens behind them.

    Parameters
    ----------
    prompts : tuple of int
        Tokens of every prompt, those that are cached already included.
    cached : tuple of int
        Of these, how many of the first are in the cache before the first step.
    new_tokens : int
        Tokens that every sequence gets; the first of them ends the last step of the prompts.
    chunk : int or None
        Tokens of a prompt that a step computes at most; None: all.
    cache : CacheForm
    overhead : float
        Seconds beside every step: sampling, scheduling, what the host does.
    """

    prompts: tuple[int, ...]
    cached: tuple[int, ...]
    new_tokens: int = 1
    chunk: int | None = None
    cache: CacheForm = CacheForm()
    overhead: float = 0.0

    @property
    def prefills(self) -> int:
        """Steps that compute prompts: none where all is cached."""
        left = max(p - c for p, c in zip(self.prompts, self.cached, strict=True))
        return -(-left // (self.chunk or left)) if left else 0

    @property
    def decodes(self) -> int:
        """Steps that compute one more token of every sequence."""
        return self.new_tokens - (1 if self.prefills else 0)

    def prefill(self, index: int) -> Requests:
        """Return the sequences of one of the steps that compute prompts."""
        each = (self._pieces(*pair, index) for pair in zip(self.prompts, self.cached, strict=True))
        return Requests(tuple(Request(pieces[-1], pieces[:-1]) for pieces in each), self.cache)

    def decode(self, index: int) -> Requests:
        """Return the sequences of one of the steps behind the prompts."""
        last = max(self.prefills - 1, 0)
        pieces = (self._pieces(*pair, last) for pair in zip(self.prompts, self.cached, strict=True))
        parts = (tuple(piece for piece in some if piece) for some in pieces)
        return Requests(tuple(Request(1, some, index, True) for some in parts), self.cache)

    def of(self, step: Step) -> Requests:
        """Return the sequences of a step."""
        form = self.prefill if step.phase == "prefill" else self.decode
        return form(step.number)

    def first(self, count: int) -> Series:
        """Return the same with the first of its sequences alone."""
        return replace(self, prompts=self.prompts[:count], cached=self.cached[:count])

    @property
    def steps(self) -> Iterator[Requests]:
        """The sequences of all steps."""
        yield from map(self.prefill, range(self.prefills))
        yield from map(self.decode, range(self.decodes))

    @property
    def last(self) -> Requests:
        """The sequences of the last step."""
        return self.decode(self.decodes - 1) if self.decodes else self.prefill(self.prefills - 1)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence behind the last step."""
        return max(request.length for request in self.last.each)

    def _pieces(self, prompt: int, cached: int, index: int) -> tuple[int, ...]:
        """Return the pieces of a prompt that are computed up to a step, its own piece last."""
        chunk, left = self.chunk or prompt, prompt - cached
        done = min(left, index * chunk)
        before = tuple(min(chunk, done - at) for at in range(0, done, chunk))
        prefix = (cached,) if cached else ()
        return (*prefix, *before, min(chunk, left - done))
