"""From the options of ``tspsim serve`` to what they ask: requests, and the limits of a step."""

from __future__ import annotations

from pathlib import Path

from tspsim.engine.serving.types import Limits
from tspsim.files.bounds import check_whole
from tspsim.files.errors import UserError
from tspsim.serving.arrivals import Traffic, parse_rate, poisson
from tspsim.serving.lengths import FORMS, parse_lengths
from tspsim.serving.trace import read_trace

#: Requests that are drawn where nobody says how many.
REQUESTS = 1000
#: More are no question for one replica, nor are steps of more.
MOST = 1_000_000


def limits(tokens: int, sequences: int) -> Limits:
    """Return the limits of a step.

    Raises
    ------
    UserError
        When one is no number of at least 1, or not every sequence could have a token in a step.
    """
    check_whole("--max-tokens", tokens, 1, MOST)
    check_whole("--max-sequences", sequences, 1, MOST)
    if tokens < sequences:
        raise UserError(
            f"--max-tokens: {tokens:,} tokens; must be at least --max-sequences, {sequences:,}: "
            "every sequence that runs may need one in a step"
        )
    return Limits(tokens, sequences)


def traffic(
    arrivals: str,
    prompt: str | None,
    new_tokens: str | None,
    requests: int | None,
    seed: int | None,
) -> Traffic:
    """Return the requests that the options state.

    Raises
    ------
    UserError
        When they say too little, or what contradicts.
    """
    check_whole("--requests", requests, 1, MOST)
    check_whole("--seed", seed, 0)
    lengths = {"--prompt": prompt, "--new-tokens": new_tokens}
    if not arrivals:
        raise UserError(
            "no --arrivals: write a rate, 8/s, with --prompt and --new-tokens, or name a trace, "
            "a .csv file"
        )
    rate = parse_rate(arrivals)
    if rate is None:
        stated = [name for name, value in (lengths | {"--seed": seed}).items() if value is not None]
        if stated:
            raise UserError(
                f"{', '.join(stated)}: nothing is drawn where --arrivals is a trace, '{arrivals}'; "
                "leave them out, or write a rate such as 8/s"
            )
        return read_trace(Path(arrivals)).first(requests)
    missing = [name for name, value in lengths.items() if value is None]
    if missing:
        raise UserError(f"no {', '.join(missing)}: a rate needs lengths; write {FORMS}")
    prompts, answers = (parse_lengths(value or "", name) for name, value in lengths.items())
    return poisson(rate, requests or REQUESTS, prompts, answers, seed or 0)
