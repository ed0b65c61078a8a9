"""``tspsim check``: the comparison of a schedule's values with the dense model, as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.values import Proof
from tspsim.values.check import TOLERANCE


def to_dict(proof: Proof) -> dict[str, Any]:
    """Return the proof as a JSON-able mapping."""
    rows = [{"tensor": c.tensor, "error": c.error, "ranks": c.ranks} for c in proof.comparisons]
    return {"passed": proof.passed, "tolerance": TOLERANCE, "comparisons": rows}


def render(proof: Proof) -> RenderableType:
    """Return the table: a row per tensor, the verdict below."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensor")
    table.add_column("ranks", justify="right")
    table.add_column("largest relative error", justify="right")
    table.add_column("")
    for row in proof.comparisons:
        verdict = Text("equal", "green") if row.passed else Text("DIFFERS", "bold red")
        table.add_row(row.tensor, str(row.ranks), f"{row.error:.1e}", verdict)
    return Group(_title(proof), table, _verdict(proof))


def _title(proof: Proof) -> Text:
    model, work = proof.model, proof.workload
    return Text(
        f"played with hidden {model.hidden}, {model.layers} layers, {model.heads} heads "
        f"({model.kv_heads} kv), ffn {model.ffn}, vocab {model.vocab}, sequence {work.sequence}, "
        f"micro-batches {work.micro_batches}; float64 against the dense model\n"
    )


def _verdict(proof: Proof) -> Text:
    count = len(proof.comparisons)
    if proof.passed:
        return Text(f"\nequal within {TOLERANCE:g}: {count} of {count} tensors", "green")
    wrong = sum(not c.passed for c in proof.comparisons)
    verdict = f"\nthe schedule is wrong: {wrong} of {count} tensors differ"
    return Text(f"{verdict} by more than {TOLERANCE:g}", "bold red")
