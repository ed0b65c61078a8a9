"""A file of tables from measured rows, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tspsim.calibrate.kernels.make import Made, as_product, make
from tspsim.calibrate.kernels.rows import FEWEST, Measured, count_shapes
from tspsim.files.errors import UserError
from tspsim.topology.hardware import Device
from tspsim.topology.table_files import label, write_tables
from tspsim.topology.tables import Table


def tables_of(measured: Sequence[Measured], device: Device, origin: str) -> list[Made]:
    """Return the tables of all kinds that have enough shapes.

    Raises
    ------
    UserError
        When none has, or the device states no rate for what was multiplied.
    """
    counts = {part.label: count_shapes(part) for part in measured}
    enough = [part for part in measured if counts[part.label] >= FEWEST]
    if not enough:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"{origin}: at least {FEWEST} shapes of a kind are needed, found: {told}")
    found = [make(part, device) for part in enough]
    products = {one.table.dtype: one.table for one in found if one.table.kind == "matmul"}
    return [
        _beside_products(one, part, products[part.dtype], device)
        if part.kind == "grouped" and part.dtype in products
        else one
        for one, part in zip(found, enough, strict=True)
    ]


def _beside_products(made: Made, measured: Measured, products: Table, device: Device) -> Made:
    """Return a table of grouped products with how far off one without it is."""
    check = ("as one product", as_product(measured, products, device))
    return replace(made, checks=(*made.checks, check))


def write(path: Path, made: Sequence[Made], device: Device, source: str) -> None:
    """Write a file of tables."""
    write_tables(path, [one.table for one in made], about(made, device, source))


def about(made: Sequence[Made], device: Device, source: str) -> dict[str, Any]:
    """Return what a file says of its tables."""
    tables = {
        label(one.table): {
            "rows": one.rows, "shapes": one.shapes, "residual": round(one.residual, 4),
            "held_out": one.held_out, "error": round(one.error, 4),
            "median": round(one.median, 4), "spread": round(one.spread, 4),
            "libraries": list(one.libraries),
            "checks": {
                name: [check.shapes, *(round(value, 4) for value in check[1:])]
                for name, check in one.checks
            },
        }
        for one in made
    }  # fmt: skip
    return {"device": device.name, "source": source, "tables": tables}


def render(found: dict[str, Any]) -> str:
    """Return what a file says of its tables as text for people."""
    lines = [
        f"{found['device']}, {found['source']}",
        f"{'':21} {'rows':>6} {'shapes':>6} {'residual':>8} {'held out':>8} {'error':>6} "
        f"{'median':>6} {'libraries':>9}",
    ]
    for name, one in found["tables"].items():
        lines.append(
            f"{name:21} {one['rows']:>6} {one['shapes']:>6} {one['residual']:>8.1%} "
            f"{one['held_out']:>8} {one['error']:>6.1%} {one['median']:>6.1%} {one['spread']:>9.0%}"
        )
        lines += [
            f"  {check:42} {shapes:>8} {error:>6.1%} {median:>6.1%} {bias:>+6.1%} bias"
            for check, (shapes, bias, median, error) in one["checks"].items()
        ]
    return "\n".join(lines)
