"""``tspsim serve``: requests through one replica, with continuous batching."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tspsim.cli.guard import guarded, say, show, show_json

#: As in `tspsim.serving.asking`, which would take its time to import.
REQUESTS, MOST = 1000, 1_000_000


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
    from tspsim.output import pictures
    from tspsim.reports import serving_plot, serving_table
    from tspsim.scenario import load
    from tspsim.serving.answer import serve as answer
    from tspsim.serving.asking import limits, traffic
    from tspsim.serving.replica import replica_of

    if output is not None:
        pictures.check(output)
    bounds = limits(max_tokens, max_sequences)
    asked = traffic(arrivals, prompt, new_tokens, requests, seed)
    loaded = load(scenario, overrides or ())
    replica = replica_of(loaded, bounds, block, cache_tokens)
    with progress("serving") as advance:
        found = answer(loaded.name, replica, asked, bounds, advance)
    if json:
        show_json(found.to_dict())
    else:
        show(serving_table.render(found))
    if output is not None:
        serving_plot.draw(found, output)
        say(f"wrote {output}")
