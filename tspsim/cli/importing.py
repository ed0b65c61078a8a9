"""``tspsim calibrate import``: tables and protocols from what other tools measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tspsim.cli.guard import guarded, say, show, show_json
from tspsim.files.errors import UserError
from tspsim.files.extras import need
from tspsim.files.writing import check_below, check_folder

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make kernel tables and protocols from tables, logs and traces of other tools.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")]


@app.command()
@guarded
def aiconfigurator(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Its tables; the installed package if not given."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where DEVICE.npz go.")
    ] = Path(),
    device: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="NAME", help="This one alone; repeatable."),
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help="Of the package, where the folder does not say it.")
    ] = "",
    json: Json = False,
) -> None:
    """Make the kernel tables of devices from the tables of aiconfigurator-core."""
    need("pandas", "kernels", "reading parquet tables")
    need("pyarrow", "kernels", "reading parquet tables")
    check_folder(output)
    from tspsim.calibrate.imports import aiconfigurator as reading
    from tspsim.calibrate.imports.devices import device as load_device
    from tspsim.calibrate.kernels import write

    place = reading.folder(folder)
    found = []
    for name in device or list(reading.DEVICES):
        known = load_device(name)
        made = write.tables_of(list(reading.read(place, name)), known, str(place))
        path, source = output / f"{name}.npz", reading.source(place, version)
        write.write(path, made, known, source)
        found.append(write.about(made, known, source))
        say(f"wrote {path}")
    show_json({"devices": found}) if json else show("\n\n".join(map(write.render, found)))


@app.command()
@guarded
def kineto(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="That torch.profiler exported.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="That it ran on.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The tables to write (.npz).")
    ],
    ranks: Annotated[
        int | None, typer.Option("--ranks", metavar="N", min=1, help="Of the run, to be checked.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the kernel tables of a device from a trace of one's own run."""
    from tspsim.calibrate.imports import kineto as reading
    from tspsim.calibrate.imports.devices import device as load_device
    from tspsim.calibrate.kernels import write

    if output.suffix != ".npz":
        raise UserError(f"--output {output}: a file of tables ends in .npz")
    check_below(output)
    known = load_device(device)
    made = write.tables_of(reading.read(trace, ranks), known, str(trace))
    source = f"{trace.name}: kernels of a trace of torch.profiler"
    write.write(output, made, known, source)
    found = write.about(made, known, source)
    show_json(found) if json else show(write.render(found))
    say(f"wrote {output}")


@app.command("nccl-tests")
@guarded
def nccl_tests(
    logs: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What it printed, or wrote with -J.")
    ],
    topology: Annotated[str, typer.Option("--topology", metavar="NAME", help="That it ran on.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The profile to write (.yaml).")
    ],
    ranks: Annotated[
        int, typer.Option("--ranks", metavar="N", min=0, help="Where the log does not say it.")
    ] = 0,
    collective: Annotated[
        str, typer.Option("--collective", metavar="KIND", help="Where the log does not say it.")
    ] = "",
    json: Json = False,
) -> None:
    """Fit the protocols of a profile to logs of nccl-tests, one of each collective."""
    need("scipy", "calibrate", "fitting")
    from tspsim.calibrate.imports import nccl_tests as reading
    from tspsim.calibrate.imports import profile
    from tspsim.program.types import COLLECTIVE_KINDS

    kind = next((known for known in COLLECTIVE_KINDS if known == collective), None)
    if collective and kind is None:
        raise UserError(f"--collective {collective}: known: {', '.join(COLLECTIVE_KINDS)}")
    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"--output {output}: the file of a profile ends in .yaml")
    check_below(output)
    found_in = [log for path in logs for log in reading.read(path)]
    calls = [log.calls(topology, kind, ranks) for log in found_in]
    found = profile.document(calls, topology, output.stem)
    profile.write(output, found)
    show_json(found) if json else show(profile.render(found))
    say(f"wrote {output}")
