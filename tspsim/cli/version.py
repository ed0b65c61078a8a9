"""``tspsim version``: what is installed here, and which of it may change a simulated number."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tspsim import __version__
from tspsim.cli.guard import guarded, show, show_json, write

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from tspsim.files.shipped import Kind

#: The extras of a user, and the packages of each.
EXTRAS = {
    "calibrate": ("scipy", "torch"),
    "chakra": ("protobuf",),
    "cluster": ("dask", "distributed"),
    "frames": ("pandas",),
    "kernels": ("aiconfigurator-core", "pandas", "pyarrow"),
    "parquet": ("pandas", "pyarrow"),
    "report": ("jinja2",),
    "samples": ("scipy",),
}


@guarded
def version(
    all_: Annotated[
        bool, typer.Option("--all", help="Also Python, platform, packages, extras and profiles.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the version; with --all everything that a simulated number may depend on."""
    if json:
        show_json(everything() if all_ else {"tspsim": __version__})
    elif all_:
        show(render(everything()))
    else:
        write(f"{__version__}\n")


def show_version(asked: bool) -> None:
    """Print the version for ``tspsim --version``, which is asked everywhere, and end."""
    if asked:
        write(f"{__version__}\n")
        raise typer.Exit


def everything() -> dict[str, Any]:
    """Return versions of all that may change a number, and a digest of shipped profiles and tables.

    A package that is not installed has the version None; an extra is `present` when all of its
    packages are.
    """
    from tspsim.result import PACKAGES

    extras = {name: {each: _version(each) for each in held} for name, held in EXTRAS.items()}
    return {
        "tspsim": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {
            name: {"present": None not in held.values(), "packages": held}
            for name, held in extras.items()
        },
        "profiles": _digests("topologies/profiles"),
        "tables": _digests("topologies/tables"),
    }


def render(found: dict[str, Any]) -> Table:
    """Return the same as a table: what it is, its name, its version."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for key in ("tspsim", "python", "platform"):
        table.add_row(key, "", found[key])
    for name, number in found["packages"].items():
        table.add_row("package", name, number or "missing")
    for name, extra in found["extras"].items():
        told = (f"{each} {number or 'missing'}" for each, number in extra["packages"].items())
        table.add_row("extra", name, ", ".join(told))
    for kind in ("profile", "table"):
        for name, digest in found[f"{kind}s"].items():
            table.add_row(kind, name, digest[:12])
    return table


def _version(package: str) -> str | None:
    """Return the version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digests(kind: Kind) -> dict[str, str]:
    """Return the SHA-256 of every shipped file of a kind, however the lines of a text end here."""
    from tspsim.files.shipped import names, shipped

    found = {path.stem: path for path in shipped(kind).iterdir()}
    return {name: hashlib.sha256(_content(found[name])).hexdigest() for name in names(kind)}


def _content(path: Path) -> bytes:
    return (
        path.read_text(encoding="utf-8").encode() if path.suffix == ".yaml" else path.read_bytes()
    )
