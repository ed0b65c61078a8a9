"""The largest batch and the longest context that every strategy serves within stated limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from pydantic import ValidationError

from tspsim.analysis.inference import last_that_fits
from tspsim.files.errors import ScenarioError, TspsimError, UserError
from tspsim.program.collection import uncollected
from tspsim.registry import STRATEGIES, registered
from tspsim.runner import simulate_step, with_series
from tspsim.scenario.loader import from_document
from tspsim.strategies.base import StrategyOptions
from tspsim.sweeps.crew import begin_worker

#: The most sequences of a replica, and tokens of a sequence, that are looked at.
MOST_SEQUENCES, MOST_TOKENS = 8192, 2**27
#: Contexts are looked for from here on: tokens.
SHORT = 1024
#: The longest context that is answered is within this share of the longest that would do.
CLOSE = 1 / 64

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What must hold beside that all fits; seconds, None where nothing is asked.

    Parameters
    ----------
    per_token : float or None
        Time per token.
    first_token : float or None
        Time to the first token.
    """

    per_token: float | None = None
    first_token: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One batch and context, simulated.

    Parameters
    ----------
    batch : int
        Sequences over all replicas.
    tokens : int
        Of a sequence: cached in decode, of a prompt elsewhere.
    first_token, per_token : float or None
        Seconds.
    rate : float
        Tokens a second over all devices: new ones, or those of prompts in prefill.
    peak : float
        Bytes of the fullest rank.
    fits : bool
        Into memory.
    left : float
        Share that is left of what is scarcest, memory or a limit; negative where it does not do.
    """

    batch: int
    tokens: int
    first_token: float | None
    per_token: float | None
    rate: float
    peak: float
    fits: bool
    left: float

    @property
    def seconds(self) -> float:
        """The time that counts: per token, where there are any."""
        return self.per_token if self.per_token is not None else self.first_token or 0.0

    @property
    def does(self) -> bool:
        """Whether all that is asked holds."""
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Served:
    """What one strategy can do.

    Parameters
    ----------
    strategy : StrategyOptions
    trials : tuple of Trial
        Of batches, by their size.
    largest, longest : Trial or None
        The largest batch at the scenario's context, and the longest context at its batch, that
        do; None: none does, or nobody asked.
    reason : str
        Why nothing could be simulated.
    """

    strategy: StrategyOptions
    trials: tuple[Trial, ...] = ()
    largest: Trial | None = None
    longest: Trial | None = None
    reason: str = ""

    @property
    def front(self) -> tuple[Trial, ...]:
        """The batches that do, by time; of each there is none that is faster and gives more."""
        best: list[Trial] = []
        for trial in sorted((t for t in self.trials if t.does), key=lambda trial: trial.seconds):
            if not best or trial.rate > best[-1].rate:
                best.append(trial)
        return tuple(best)


def check(document: Document) -> None:
    """Refuse sequences of several lengths, as what is looked for is how many of one length.

    Raises
    ------
    UserError
        With the key, and what to say in its place.
    """
    workload = document["workload"]
    for key, other in (("requests", "workload.prompt"), ("cached", "a number of tokens")):
        if isinstance(workload.get(key), list | tuple):
            raise UserError(
                f"workload.{key}: found {len(workload[key])} lengths; a plan looks for how many "
                f"sequences of one length: give {other} in place of the list"
            )


@dataclass(frozen=True, slots=True)
class Asked:
    """What every strategy is asked.

    Parameters
    ----------
    document : Mapping
        The scenario; its strategy is replaced.
    limits : Limits
    longest : bool
        Look for the longest context, too.
    """

    document: Document
    limits: Limits
    longest: bool

    @property
    def phase(self) -> str:
        """The phase of the scenario's workload."""
        return str(self.document["workload"]["phase"])

    @property
    def key(self) -> str:
        """The key of the workload that gives a sequence's tokens."""
        if self.phase == "decode":
            return "cached"
        return "prompt" if "prompt" in self.document["workload"] else "sequence"

    @property
    def tokens(self) -> int:
        """Tokens of a sequence."""
        return int(self.document["workload"][self.key])

    @property
    def shortest(self) -> int:
        """Tokens from which the longest context is looked for: more than a prompt's prefix."""
        cached = self.document["workload"].get("cached") or 0
        prefix = 0 if self.phase == "decode" else int(cached)
        return min(self.tokens, max(SHORT, prefix + 1))

    @property
    def batch(self) -> int:
        """Sequences of a replica."""
        return int(self.document["workload"].get("batch", 1))

    def trial(self, strategy: StrategyOptions, batch: int, tokens: int) -> Trial:
        """Simulate a batch of a replica, and a context."""
        workload = {**self.document["workload"], "batch": batch, self.key: tokens}
        options = strategy.model_dump(mode="json")
        document = {**self.document, "workload": workload, "strategy": options}
        with uncollected():
            summary = with_series(simulate_step(from_document(document))).summary
        found, memory = summary.inference, summary.memory
        assert found is not None
        rate = found.output_tokens_per_second or found.prompt_tokens_per_second or 0.0
        times = found.time_to_first_token, found.time_per_token
        bounds = self.limits.first_token, self.limits.per_token
        pairs = [
            (limit, t)
            for limit, t in zip(bounds, times, strict=True)
            if limit is not None and t is not None
        ]
        pairs.append((memory.capacity, memory.peak))
        left = min((limit - taken) / limit if limit else -taken for limit, taken in pairs)
        total = batch * strategy.dp
        return Trial(total, tokens, *times, rate, memory.peak, memory.fits, left)


def strategies(document: Document, devices: int, fixed: Mapping[str, Any]) -> list[StrategyOptions]:
    """Return every strategy of inference with all degrees that divide model and devices.

    Parameters
    ----------
    document : Mapping
        The scenario, with any strategy.
    devices : int
        Replicas fill them.
    fixed : Mapping
        What is stated of ``strategy``: it is not varied; ``kind`` may name several, with commas.
    """
    base = from_document({**document, "strategy": {"kind": "tp", "degree": 1, "dp": devices}})
    asked = str(fixed["kind"]).split(",") if "kind" in fixed else STRATEGIES.names()
    kept = {name: value for name, value in fixed.items() if name != "kind"}
    found = []
    for kind in (name.strip() for name in asked):
        for options in _degrees(STRATEGIES.get(kind), devices, kept):
            made = _made(kind, options, base.model.kv_heads)
            if made and not any(made.all_problems(base.model, base.workload)):
                found.append(made)
    return found


def _degrees(
    form: type[StrategyOptions], devices: int, kept: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    names = form.degrees()
    if not form.infers() or not names:
        return
    divisors = [n for n in range(1, devices + 1) if devices % n == 0]
    for counts in itertools.product(divisors, repeat=len(names)):
        # Of a degree of 1 there is one: tensor parallelism of a single rank.
        split = min(counts) > 1 or form.model_fields["kind"].default == "tp"
        if not split or devices % math.prod(counts):
            continue
        options = dict(zip(names, counts, strict=True)) | {"dp": devices // math.prod(counts)}
        if all(options.get(name, value) == value for name, value in kept.items()):
            yield {**options, **kept}


def _made(kind: str, options: dict[str, Any], kv_heads: int) -> StrategyOptions | None:
    form: type[StrategyOptions] = STRATEGIES.get(kind)
    if "replicate_kv_heads" in form.model_fields:
        cuts = options.get("tp", options.get("degree", 1))
        options = {"replicate_kv_heads": cuts > kv_heads, **options}
    try:
        return form.model_validate({"kind": kind, **options})
    except ValidationError:
        return None


def served(asked: Asked, strategy: StrategyOptions) -> Served:
    """Return what a strategy can do: batches twice as large each, and what lies between."""
    try:
        trials = _most(lambda n: asked.trial(strategy, n, asked.tokens), 1, MOST_SEQUENCES)
        longest = None
        if asked.longest:
            contexts = _most(
                lambda n: asked.trial(strategy, asked.batch, n), asked.shortest, MOST_TOKENS, CLOSE
            )
            longest = max((t for t in contexts if t.does), key=lambda t: t.tokens, default=None)
    except (TspsimError, ScenarioError) as error:
        return Served(strategy, reason=str(error))
    trials.sort(key=lambda trial: trial.batch)
    largest = max((t for t in trials if t.does), key=lambda t: t.batch, default=None)
    return Served(strategy, tuple(trials), largest, longest)


def _most(trial: Callable[[int], Trial], first: int, most: int, close: float = 0.0) -> list[Trial]:
    """Return trials up to the last number that does: doubled, then guessed between two."""
    trials: dict[int, Trial] = {}

    def left_of(number: int) -> float:
        trials[number] = trial(number)
        return trials[number].left

    number, good = first, 0
    while left_of(number) >= 0 and number < most:
        good, number = number, min(2 * number, most)
    if good and not trials[number].does:
        left = {tried: each.left for tried, each in trials.items()}
        last_that_fits(left_of, (good, number), left, close)
    return list(trials.values())


def plan_inference(
    asked: Asked,
    ways: Sequence[StrategyOptions],
    jobs: int | None = None,
    advance: Callable[[float], None] = lambda fraction: None,  # noqa: ARG005
) -> list[Served]:
    """Return what strategies can do, those with the highest rate at their largest batch first.

    Parameters
    ----------
    asked : Asked
    ways : sequence of StrategyOptions
    jobs : int, optional
        Processes. Not given: this process does it.
    advance : callable, optional
        Told the fraction that is done.

    Raises
    ------
    UserError
        When no strategy divides the model.
    """
    if not ways:
        raise UserError("no strategy of inference divides the model over these devices")
    found: list[Served] = []
    for each in _mapped(asked, ways, jobs):
        found.append(each)
        advance(len(found) / len(ways))
    return sorted(found, key=lambda each: -each.largest.rate if each.largest else 0.0)


def _mapped(asked: Asked, ways: Sequence[StrategyOptions], jobs: int | None) -> Iterator[Served]:
    """Yield what every strategy can do, in their order."""
    if jobs is None:
        yield from (served(asked, way) for way in ways)
        return
    # Not forked: a fork would share locks and threads of whoever imports tspsim.
    with ProcessPoolExecutor(jobs, get_context("spawn"), begin_worker, (registered(),)) as pool:
        yield from pool.map(served, [asked] * len(ways), ways)
