"""``tspsim serve``: requests through one replica, with continuous batching."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tspsim.cli.guard import guarded, say, show, show_json

if TYPE_CHECKING:
    from tspsim.engine.serving.types import Limits
    from tspsim.serving.arrivals import Traffic

#: Requests that are drawn where nobody says how many.
REQUESTS = 1000
#: More are no question for one replica.
MOST = 1_000_000


@guarded
def serve(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO", help="A YAML file, a result.json, or a shipped scenario's name."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes, such as strategy.degree=4.", show_default=False
        ),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(
            "--arrivals",
            metavar="RATE|FILE",
            help="8/s: at random (Poisson). Or a trace: CSV of arrival, prompt, new_tokens.",
            show_default=False,
        ),
    ] = "",
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="LENGTHS",
            help="Tokens of prompts: 512, 128..1024 or lognormal:512:0.8 (mean, sigma).",
        ),
    ] = None,
    new_tokens: Annotated[
        str | None,
        typer.Option("--new-tokens", metavar="LENGTHS", help="Tokens of answers, likewise."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests",
            metavar="N",
            min=1,
            max=MOST,
            help=f"How many [default: {REQUESTS}; all of a trace].",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, help="Of arrivals and lengths [default: 0].",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, max=MOST, help="Of a step.")
    ] = 8192,
    max_sequences: Annotated[
        int,
        typer.Option("--max-sequences", metavar="N", min=1, max=MOST, help="That run at a time."),
    ] = 256,
    block: Annotated[
        int, typer.Option("--block", metavar="N", min=1, help="Tokens of a block of the cache.")
    ] = 16,
    cache_tokens: Annotated[
        int | None,
        typer.Option(
            "--cache-tokens", metavar="N", min=1,
            help="That the cache holds [default: what weights leave of the memory].",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="Draw requests, cache and latencies: png, svg, pdf, html.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")] = False,
) -> None:  # fmt: skip
    """Serve requests by one replica: first tokens, tokens, queue and cache over time."""
    from tspsim.cli.progress import progress
    from tspsim.output.pictures import check_suffix
    from tspsim.reports import serving_plot, serving_table
    from tspsim.scenario import load
    from tspsim.serving.answer import serve as answer
    from tspsim.serving.replica import replica_of

    if output is not None:
        check_suffix(output)
    limits = _limits(max_tokens, max_sequences)
    traffic = _traffic(arrivals, prompt, new_tokens, requests, seed)
    loaded = load(scenario, overrides or ())
    replica = replica_of(loaded, limits, block, cache_tokens)
    with progress("serving") as advance:
        found = answer(loaded.name, replica, traffic, limits, advance)
    if json:
        show_json(found.to_dict())
    else:
        show(serving_table.render(found))
    if output is not None:
        serving_plot.draw(found, output)
        say(f"wrote {output}")


def _limits(tokens: int, sequences: int) -> Limits:
    from tspsim.engine.serving.types import Limits
    from tspsim.files.errors import UserError

    if tokens < sequences:
        raise UserError(
            f"--max-tokens: {tokens:,} tokens; must be at least --max-sequences, {sequences:,}: "
            "every sequence that runs may need one in a step"
        )
    return Limits(tokens, sequences)


def _traffic(
    arrivals: str,
    prompt: str | None,
    new_tokens: str | None,
    requests: int | None,
    seed: int | None,
) -> Traffic:
    """Return the requests that the options state."""
    from tspsim.files.errors import UserError
    from tspsim.serving.arrivals import parse_rate, poisson
    from tspsim.serving.lengths import FORMS, parse_lengths
    from tspsim.serving.trace import read_trace

    lengths = {"--prompt": prompt, "--new-tokens": new_tokens}
    if not arrivals:
        raise UserError("no --arrivals: write a rate, 8/s, or name a trace, a .csv file")
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
