"""A result's folder: ``result.json`` with its tables, its trace and its pictures.

The files are first written into a folder of their own and only then moved to where they belong, so
that nobody ever finds half a file. No file that tspsim did not write is ever deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.files.errors import OutputError
from tspsim.files.reading import UnreadableError, is_folder, is_there, read_json
from tspsim.files.writing import beside, check_folder, said_clearly, taken_away

if TYPE_CHECKING:
    from tspsim.result import Result

#: What a folder holds. ``result.json`` comes last: where it is, everything else is.
FILES = (
    "trace.json.gz", "gantt.png", "memory.png", "spans.csv.gz", "memory.csv.gz", "result.json",
)  # fmt: skip
#: What it holds too where there is a pipeline, and then only.
OF_PIPELINES = "pipeline.png"


def _files(result: Result) -> tuple[str, ...]:
    return ((OF_PIPELINES,) if "pipeline" in result.summary.to_dict() else ()) + FILES


def write(result: Result, directory: str | Path, force: bool = False) -> None:
    """Write all files of a result into a folder.

    Parameters
    ----------
    result : Result
    directory : str or Path
        Made when it is not there. An earlier result of the same scenario in it is replaced.
    force : bool
        Write even where the folder holds something else. Files of other names stay.

    Raises
    ------
    OutputError
        When the folder holds something else, or cannot be written.
    """
    directory = Path(directory)
    with said_clearly(directory):
        _refuse_others(directory, result.scenario.name, force)
        if directory.exists():
            _into_existing(result, directory)
        else:
            _as_new(result, directory)


def check(directory: str | Path, name: str, force: bool = False) -> None:
    """Refuse a folder that `write` would refuse, before time is spent on a simulation.

    Parameters
    ----------
    directory : str or Path
    name : str
        Name of the scenario whose result is to be written.
    force : bool
        As in `write`.

    Raises
    ------
    OutputError
        When the folder holds something else, or cannot be read.
    """
    directory = Path(directory)
    with said_clearly(directory):
        _refuse_others(directory, name, force)
    check_folder(directory)


def held(directory: str | Path) -> Path:
    """Return the ``result.json`` of a folder, or the file itself that is named."""
    path = Path(directory)
    return path / "result.json" if is_folder(path) else path


def source_of(name: str | Path) -> str | Path:
    """Return the scenario that a name stands for: of a folder, the result in it.

    Raises
    ------
    OutputError
        When the folder holds no result.
    """
    if not is_folder(Path(name)):
        return name
    found = held(name)
    if not is_there(found):
        raise OutputError(f"{found}: there is none; 'tspsim run SCENARIO -o DIR' makes a result")
    return found


def document(directory: str | Path) -> dict[str, Any]:
    """Return the scenario of the result that a folder holds, as it was resolved.

    Parameters
    ----------
    directory : str or Path
        The folder, or the ``result.json`` in it.

    Raises
    ------
    OutputError
        When there is no readable result.
    """
    found: dict[str, Any] = _read(held(directory))["document"]
    return found


def to_dict(result: Result) -> dict[str, Any]:
    """Return what ``result.json`` holds: the summary, the resolved scenario, the provenance."""
    more = {"document": result.scenario.document, "provenance": result.provenance.to_dict()}
    return {**result.summary.to_dict(), **more}


def _read(path: Path) -> dict[str, Any]:
    if not is_there(path):
        raise OutputError(f"{path}: there is none; 'tspsim run SCENARIO -o DIR' makes a result")
    try:
        found = read_json(path)
    except UnreadableError as error:
        raise OutputError(str(error)) from None
    for key, kind in (("document", dict), ("scenario", str)):
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise OutputError(f"{path}: is not a result of tspsim: it has no '{key}'")
    whole: dict[str, Any] = found
    return whole


def _refuse_others(directory: Path, name: str, force: bool) -> None:
    """Raise when writing would mix a result with something else."""
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: is a file; the results need a folder")
    if force or not directory.exists() or not any(directory.iterdir()):
        return
    found = directory / "result.json"
    if not is_there(found):
        names = sorted(entry.name for entry in directory.iterdir())
        held = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise OutputError(
            f"{directory}: holds something else ({held}); choose an empty or a new folder,"
            " or write beside it with --force"
        )
    earlier = _read(found)["scenario"]
    if earlier != name:
        raise OutputError(
            f"{directory}: holds a result of scenario '{earlier}', this one is '{name}'; choose"
            " another folder, or replace it with --force"
        )


def _into_existing(result: Result, directory: Path) -> None:
    stale = _had_a_pipeline(directory) and OF_PIPELINES not in _files(result)
    with taken_away(directory / f".partial-{os.getpid()}") as scratch:
        scratch.mkdir()
        _write_files(result, scratch)
        for name in _files(result):
            (scratch / name).replace(directory / name)
    if stale:
        (directory / OF_PIPELINES).unlink(missing_ok=True)


def _had_a_pipeline(directory: Path) -> bool:
    """Whether a folder holds a result with a picture of its pipeline."""
    try:
        return "pipeline" in _read(directory / "result.json")
    except OutputError:
        return False


def _as_new(result: Result, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with taken_away(beside(directory)) as scratch:
        scratch.mkdir()
        _write_files(result, scratch)
        scratch.rename(directory)


def _write_files(result: Result, scratch: Path) -> None:
    # matplotlib and the writers are imported when something is written, not for loading.
    from tspsim.output import memory_table, spans, trace
    from tspsim.output.pictures import draw

    writers: dict[str, Callable[[Path], None]] = {
        "trace.json.gz": lambda path: trace.write(result, path),
        "gantt.png": lambda path: draw("gantt", result, path),
        "memory.png": lambda path: draw("memory", result, path),
        OF_PIPELINES: lambda path: draw("pipeline", result, path),
        "spans.csv.gz": lambda path: spans.write(result.timeline, path),
        "memory.csv.gz": lambda path: memory_table.write(result, path),
        "result.json": lambda path: _write_json(result, path),
    }
    for name in _files(result):
        writers[name](scratch / name)


def _write_json(result: Result, path: Path) -> None:
    text = json.dumps(to_dict(result), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
