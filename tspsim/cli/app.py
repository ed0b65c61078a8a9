"""The commands and their options; each imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tspsim.cli import calibrate, compare, explain, interop, plan, plot, report, sweep
from tspsim.cli.collective import collective
from tspsim.cli.export import export
from tspsim.cli.guard import DOES_NOT_FIT, FAILED, guarded, say, show, show_json, write
from tspsim.cli.new import new
from tspsim.cli.schedule import schedule
from tspsim.cli.serve import serve
from tspsim.cli.version import show_version, version

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Simulate parallel schedules of transformers: time, memory, and proof.",
    epilog="Exit codes: 0 fine, 1 internal error or failed check, 2 your input, "
    "3 does not fit (with --fail-on-oom), 130 interrupt.",
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take what stands in front of a command."""


# Arguments that several commands share.
ScenarioName = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO", help="A YAML file, a result.json, or the name of a shipped scenario."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Changes, such as strategy.degree=4 or 'topology.link.bandwidth=100 GB/s'.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")]


@app.command()
@guarded
def run(
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help="A YAML file, a result.json, or the name of a shipped scenario. Without one: the "
            "questions that shipped scenarios answer.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Write result.json, trace, pictures and tables there. Nothing is written "
            "without it.",
        ),
    ] = None,
    json: Json = False,
    fail_on_oom: Annotated[
        bool, typer.Option("--fail-on-oom", help="Exit with 3 when a rank's memory overflows.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write into DIR although it holds something else.")
    ] = False,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            metavar="N",
            min=1,
            help="Repeat with seeds seed, seed + 1...: a distribution.",
        ),
    ] = None,
) -> None:
    """Simulate one step: how long it takes, where the time goes, what fills the memory."""
    if scenario is None:
        _ask()
    from tspsim.cli.progress import progress
    from tspsim.output import folder, table
    from tspsim.runner import simulate_scenario
    from tspsim.runs.seeds import repeat
    from tspsim.scenario import load

    loaded = load(scenario, overrides or ())
    if output is not None:
        folder.check(output, loaded.name, force)
    with progress("simulating") as advance:
        result = repeat(loaded, runs, advance) if runs else simulate_scenario(loaded, advance)
    if json:
        show_json(result.summary.to_dict())
    else:
        show(table.render(result))
    if output is not None:
        folder.write(result, output, force)
        say(f"wrote {output}")
    if fail_on_oom and not result.fits:
        raise SystemExit(DOES_NOT_FIT)


def _ask() -> NoReturn:
    """Show what can be asked, and say how; a script that lost its file must not look fine."""
    from tspsim.cli import lists
    from tspsim.files.errors import UserError

    show(lists.render_questions(lists.questions()))
    raise UserError("no scenario: name one of these, or a file; 'tspsim new' writes one")


@app.command()
@guarded
def goodput(
    scenario: ScenarioName,
    overrides: Overrides = None,
    runs: Annotated[
        int, typer.Option("--runs", metavar="N", min=1, help="Jobs, each with its own failures.")
    ] = 100,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Draw goodput over intervals: png, svg, pdf, html.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Play a job of many steps with failures: useful time, and how often to checkpoint."""
    from tspsim.cli.progress import progress
    from tspsim.reports import goodput_plot, goodput_table
    from tspsim.runs.goodput import goodput as answer
    from tspsim.scenario import load

    loaded = load(scenario, overrides or ())
    if output is not None:
        goodput_plot.check(loaded, output)
    with progress("simulating") as advance:
        found = answer(loaded, runs, advance)
    if json:
        show_json(found.to_dict())
    else:
        show(goodput_table.render(found))
    if output is not None:
        goodput_plot.draw(found, output)
        say(f"wrote {output}")


app.command()(new)
app.command()(serve)


@app.command()
@guarded
def check(scenario: ScenarioName, overrides: Overrides = None, json: Json = False) -> None:
    """Prove the schedule: play it with NumPy values, small, against the dense model."""
    from tspsim.commands.proof import prove
    from tspsim.reports import proof_table as proof
    from tspsim.scenario import load

    found = prove(load(scenario, overrides or ()))
    if json:
        show_json(proof.to_dict(found))
    else:
        show(proof.render(found))
    if not found.passed:
        raise SystemExit(FAILED)


@app.command("show")
@guarded
def show_scenario(scenario: ScenarioName, overrides: Overrides = None, json: Json = False) -> None:
    """Show a scenario with everything resolved, and what its programs hold; simulate nothing.

    Of an execution trace (FILE.et), what it holds.
    """
    from tspsim.cli import execution_trace, overview
    from tspsim.scenario import load
    from tspsim.scenario.writing import to_text

    if execution_trace.is_one(scenario):
        execution_trace.show_trace(scenario, overrides or [], json)
        return
    found = overview.overview(load(scenario, overrides or ()))
    if json:
        show_json(found)
    else:
        write(to_text(found["document"]) + "\n")
        show(overview.render(found))


app.command()(plot.plot)


@app.command("list")
@guarded
def list_names(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="strategies, schedules, collectives, topologies, devices, models, scenarios, "
            "plots or exports",
            show_default=False,
        ),
    ] = "",
    json: Json = False,
) -> None:
    """List what there is, each with a line about it."""
    from tspsim.cli import lists

    found = lists.entries(what)
    if json:
        show_json({what: found})
    else:
        show(lists.render(found))


@app.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from tspsim.scenario.json_schema import scenario_schema

    show_json(scenario_schema())


app.command()(version)
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(interop.app, name="import")
app.command()(calibrate.validate)
app.command()(collective)
app.command()(schedule)
app.command()(explain.explain)
app.command()(sweep.sweep)
app.command()(export)
app.command()(compare.compare)
app.command()(plan.plan)
app.command()(report.report)
