"""``tspsim.serve``: requests through one replica."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from tspsim.commands.shown import Source, loaded
from tspsim.files.arguments import checked
from tspsim.files.bounds import check_whole
from tspsim.files.frames import frame
from tspsim.output.shown import Shown
from tspsim.reports import serving_table
from tspsim.result import Result
from tspsim.serving import answer, asking
from tspsim.serving.replica import replica_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Serving(Shown, answer.Serving):
    """How requests fared at one replica."""

    def frame(self) -> pd.DataFrame:
        """Return what the replica held, at equal distances of time, as a table.

        Columns are `time` in seconds since the first arrival, requests that are `waiting` and
        `running`, and the part of the `cache` that is taken.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        held = self.over_time
        rows = zip(held.times, held.waiting, held.running, held.cache, strict=True)
        return frame(rows, ("time", "waiting", "running", "cache"))

    def _table(self) -> RenderableType:
        return serving_table.render(self)


@checked
def serve(
    source: Source | Result,
    *changes: str,
    arrivals: str | Path,
    prompt: str | int | None = None,
    new_tokens: str | int | None = None,
    requests: int | None = None,
    seed: int | None = None,
    max_tokens: int = 8192,
    max_sequences: int = 256,
    block: int = 16,
    cache_tokens: int | None = None,
) -> Serving:
    """Serve requests by one replica, with continuous batching.

    Parameters
    ----------
    source : str, Path, Mapping, Scenario or Run
        A scenario of a phase of inference; its own sequences do not matter.
    *changes : str
        Such as ``"strategy.degree=4"``.
    arrivals : str or Path
        ``"8/s"``: at random (Poisson). Or a trace: CSV of arrival, prompt, new_tokens.
    prompt, new_tokens : str or int, optional
        Tokens of prompts and answers: ``512``, ``"128..1024"`` or ``"lognormal:512:0.8"`` (mean,
        sigma).
    requests : int, optional
        How many; 1000 when not given, or all of a trace.
    seed : int, optional
        Of arrivals and lengths.
    max_tokens, max_sequences : int
        Tokens of a step, and sequences that run at a time.
    block : int
        Tokens of a block of the cache.
    cache_tokens : int, optional
        That the cache holds; when not given, what weights leave of the memory.

    Raises
    ------
    UserError
        With what is wrong.
    """
    check_whole("--block", block)
    check_whole("--cache-tokens", cache_tokens)
    limits = asking.limits(max_tokens, max_sequences)
    lengths = [None if each is None else str(each) for each in (prompt, new_tokens)]
    traffic = asking.traffic(str(arrivals), lengths[0], lengths[1], requests, seed)
    scenario = loaded(source, changes)
    replica = replica_of(scenario, limits, block, cache_tokens)
    found = answer.serve(scenario.name, replica, traffic, limits)
    return Serving(*(getattr(found, field.name) for field in fields(found)))
