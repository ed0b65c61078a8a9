"""Times of steps from few that are played: thousands of steps of a run from about a hundred.

A step's ops follow each other, so its time is taken as a sum: what its tokens take that see
nothing but a few neighbours, and what attention adds for all that is seen beyond.

- ``tokens(T)``: T tokens in short prompts. A line in T, bent where it has kinks (weights are read
  once for few tokens, and products bound by compute for many).
- ``chunk(n, k)``: a chunk of n tokens behind k cached ones, less ``tokens(n)``.
- ``decode(N, D, C)``: what D rows of decode with C cached tokens in all add, beside chunks of N
  tokens: where there are any, one kernel may be run for all, which is not that of decode alone.

The time of a step is ``tokens(T) + decode(N, D, C)``, and ``chunk(n, k)`` for every chunk. The last
two are taken as straight in rows or tokens and in what is seen, between the points of coarse grids:
as attention is, whether it reads or computes. At such a point a step has the time that it was
played with. What the sum leaves out is measured: steps of the run are drawn, played as they are,
and compared.
"""

from __future__ import annotations

from numpy.random import Generator

from tspsim.engine.jitter import SAMPLES, generator
from tspsim.engine.serving.types import Cache, Limits, Rows, StepTime
from tspsim.serving.lines import Bent, Line, Sheet, grid

#: Steps that are compared, of decode alone and of those with chunks.
CHECKED = 4
#: Tokens of the prompts in which tokens see but a few neighbours.
SHORT = 16
#: From one point of a grid to the next.
RATIO = 4
#: The first points behind a single token of the grid of chunks, and behind none of cached tokens.
CHUNK, CACHED = 64, 1024
#: The first point and the ratio of the grid of tokens beside which rows of decode are played.
BESIDE = 64, 8


class Sample:
    """Some of the steps of a run, each as likely as any other (reservoir sampling)."""

    def __init__(self, drawn: Generator) -> None:
        self._drawn, self._seen = drawn, 0
        self.kept: list[Rows] = []

    def keep(self, rows: Rows) -> None:
        """Take note of a step."""
        self._seen += 1
        if len(self.kept) < CHECKED:
            self.kept.append(rows)
        elif (place := int(self._drawn.integers(self._seen))) < CHECKED:
            self.kept[place] = rows


class StepTimes:
    """A `StepTime` that asks another one, which is costly, for few steps.

    Parameters
    ----------
    play : StepTime
        Simulates a step.
    limits : Limits
        No step that is played has more tokens or sequences...
    cache : Cache
        ...or more cached tokens than these allow.
    """

    def __init__(self, play: StepTime, limits: Limits, cache: Cache) -> None:
        self._play, self._most = play, cache.tokens
        self._played: dict[Rows, float] = {}
        self._samples = (Sample(generator(SAMPLES, 0, 0)), Sample(generator(SAMPLES, 0, 1)))
        tokens, rows = (min(most, self._most) for most in (limits.tokens, limits.sequences))
        self._limit = tokens
        self._tokens = Bent(
            grid(1, RATIO, tokens), lambda count: self._at(short_prompts(count, rows))
        )
        self._rows = grid(1, RATIO, rows)
        self._decode = Sheet((0, *sorted({2, *grid(*BESIDE, tokens)})), self._beside)
        self._chunk = Sheet(sorted({1, *grid(CHUNK, RATIO, tokens)}), self._chunk_of)

    def __call__(self, rows: Rows) -> float:
        """Return the seconds of a step."""
        self._samples[max(rows)[0] > 1].keep(rows)
        return self._sum(rows)

    def _sum(self, rows: Rows) -> float:
        """Return the time of a step as the sum of its parts."""
        chunks = [row for row in rows if row[0] > 1]
        total = sum([new for new, _ in rows])
        seconds = self._tokens(total)
        if count := len(rows) - len(chunks):
            cached = sum([before for _, before in rows]) - sum([before for _, before in chunks])
            seconds += self._decode(total - count, count, cached)
        return seconds + sum([self._chunk(new, seen(new, before)) for new, before in chunks])

    @property
    def played(self) -> int:
        """Steps that were played so far."""
        return len(self._played)

    @property
    def sample(self) -> list[Rows]:
        """Steps that were asked for, drawn at random."""
        return [rows for sample in self._samples for rows in sample.kept]

    def error(self) -> float:
        """Return by which part the times of the sample are off at most: plays its steps."""
        errors = [abs(self._sum(rows) / self._at(rows) - 1) for rows in self.sample]
        return max(errors, default=0.0)

    def _at(self, rows: Rows) -> float:
        if rows not in self._played:
            self._played[rows] = self._play(rows)
        return self._played[rows]

    def _beside(self, tokens: int) -> Sheet:
        """Return what rows of decode add beside a chunk of so many tokens, as far as these fit."""

        def rows_of(count: int) -> Line:
            new = min(tokens, self._limit - count)
            chunk = ((new, 0),) if new > 1 else ()
            alone = self._tokens(count + new) + (self._chunk(new, seen(new, 0)) if chunk else 0.0)

            def added(cached: int) -> float:
                return self._at((*decode_rows(count, cached), *chunk)) - alone

            return Line(self._cached(count + new), added)

        return Sheet(self._rows, rows_of)

    def _chunk_of(self, tokens: int) -> Line:
        """Return what is added to a chunk of so many tokens, by what they see."""

        def added(seeing: int) -> float:
            return self._at(((tokens, (seeing - tokens) // 2),)) - self._tokens(tokens)

        return Line([seen(tokens, cached) for cached in self._cached(tokens)], added)

    def _cached(self, tokens: int) -> tuple[int, ...]:
        """Return the numbers of cached tokens that are played beside so many new ones."""
        most = self._most - tokens
        return (0, *grid(CACHED, RATIO, most)) if most else (0,)


def seen(tokens: int, cached: int) -> int:
    """Return twice what a token of a chunk sees on average: what is cached, half the chunk."""
    return 2 * cached + tokens


def short_prompts(tokens: int, most: int) -> Rows:
    """Return so many tokens that see but a few neighbours, in so many prompts at most."""
    length = max(SHORT, -(-tokens // most))
    whole, rest = divmod(tokens, length)
    return ((length, 0),) * whole + (((rest, 0),) if rest else ())


def decode_rows(count: int, cached: int) -> Rows:
    """Return rows of decode that share cached tokens as evenly as can be."""
    each, more = divmod(cached, count)
    return ((1, each + 1),) * more + ((1, each),) * (count - more)
