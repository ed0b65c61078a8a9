"""The scheduler of a replica: which tokens of which sequences a step computes.

That of vLLM v1, first come first served: rows of decode first, one token each, then chunks of
prompts up to the budget of tokens; prompts wait until the cache has room for all of them. A
sequence that needs a block where none is free takes it from the one that came last: that one loses
what is cached of it, and begins anew with its prompt and the tokens that it has given.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tspsim.engine.serving.types import Cache, Limits, Request, Rows


@dataclass(slots=True, eq=False)
class Ongoing:
    """A request that waits or runs.

    Parameters
    ----------
    number : int
        Which request.
    known : int
        Tokens that there are: prompt and given ones. The next comes when all of them are cached.
    left : int
        Tokens still to be given.
    cached, blocks : int
        Tokens in the cache, and blocks that are taken for them.
    """

    number: int
    known: int
    left: int
    cached: int = 0
    blocks: int = 0

    @property
    def missing(self) -> int:
        """Tokens to be computed before the next one comes."""
        return self.known - self.cached


@dataclass(slots=True, eq=False)
class Step:
    """What a step computes.

    Parameters
    ----------
    parts : list of (Ongoing, int)
        Sequences and their new tokens; rows of decode first.
    started, preempted : list of Ongoing
        That run from this step on, or no longer.
    """

    parts: list[tuple[Ongoing, int]]
    started: list[Ongoing] = field(default_factory=list)
    preempted: list[Ongoing] = field(default_factory=list)

    @property
    def rows(self) -> Rows:
        """What the step's time depends on."""
        return tuple([(new, each.cached) for each, new in self.parts])


class Scheduler:
    """The queue, the sequences that run, and the blocks that they hold.

    Parameters
    ----------
    limits : Limits
    cache : Cache
        With room for any request that is alone.
    """

    def __init__(self, limits: Limits, cache: Cache) -> None:
        assert limits.sequences <= limits.tokens
        self._limits, self._cache = limits, cache
        self.waiting: deque[Ongoing] = deque()
        self.running: list[Ongoing] = []
        self._free = cache.blocks
        self.recomputed = 0  # tokens that preempted sequences lost

    @property
    def busy(self) -> bool:
        """Whether a step would compute something."""
        return bool(self.running or self.waiting)

    @property
    def held(self) -> int:
        """Blocks that are taken."""
        return self._cache.blocks - self._free

    def add(self, number: int, request: Request) -> None:
        """Put a request at the end of the queue."""
        assert self._cache.of(request.most_cached) <= self._cache.blocks
        self.waiting.append(Ongoing(number, request.prompt, request.new_tokens))

    def step(self) -> Step:
        """Choose what is computed next: something, if there is anything to be done."""
        preempted = self._make_room()
        step = Step([(each, 1) for each in self.running if each.missing == 1], [], preempted)
        budget = self._limits.tokens - len(step.parts)
        for each in self.running:
            if each.missing > 1 and budget:
                budget -= self._chunk(step, each, budget)
        self._admit(step, budget)
        return step

    def done(self, step: Step) -> list[Ongoing]:
        """Take a step as computed; return the sequences that gave a token, as they are now."""
        gave = []
        for each, new in step.parts:
            each.cached += new
            if not each.missing:
                each.known += 1
                each.left -= 1
                gave.append(each)
                if not each.left:
                    self._release(each)
        self.running = [each for each in self.running if each.left]
        return gave

    def _make_room(self) -> list[Ongoing]:
        """Take the blocks that the next tokens need; return the sequences that lost theirs."""
        preempted, place = [], 0
        while place < len(self.running):
            each = self.running[place]
            need = self._cache.of(each.known) - each.blocks
            while need > self._free and place < len(self.running):
                preempted.append(self._preempt())
            if place < len(self.running):
                self._take(each, need)
            place += 1
        return preempted

    def _preempt(self) -> Ongoing:
        """Put the sequence that came last back to the front of the queue."""
        last = self.running.pop()
        self._release(last)
        self.recomputed += last.cached
        last.cached = 0
        self.waiting.appendleft(last)
        return last

    def _admit(self, step: Step, budget: int) -> None:
        """Start those who wait, in order, until one does not fit: none that was just preempted."""
        while self.waiting and budget and len(self.running) < self._limits.sequences:
            first = self.waiting[0]
            need = self._cache.of(first.known)
            if need > self._free:
                return
            self.running.append(self.waiting.popleft())
            self._take(first, need)
            step.started.append(first)
            budget -= self._chunk(step, first, budget)

    def _chunk(self, step: Step, each: Ongoing, budget: int) -> int:
        """Compute as much of a prompt as the budget allows; return how much."""
        new = min(each.missing, budget)
        step.parts.append((each, new))
        return new

    def _take(self, each: Ongoing, blocks: int) -> None:
        each.blocks += blocks
        self._free -= blocks

    def _release(self, each: Ongoing) -> None:
        self._free += each.blocks
        each.blocks = 0
