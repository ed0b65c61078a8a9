"""The files of ``published/inference/``: rows of tables, or cells by length and batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tspsim.files.shipped import shipped
from tspsim.topology.files import read

Quantity = Literal["first token", "token", "latency"]


@dataclass(frozen=True, slots=True)
class Row:
    """One published time.

    Parameters
    ----------
    source, table, name : str
    use : {"fit", "check"}
    scenario : dict
        What was run.
    quantity : {"first token", "token", "latency"}
        What was timed: until the first token, a token behind it, or until the last one.
    measured : float
        Seconds.
    peers : str
        What a row shares with others that differ from it in the layout alone.
    fullest : float or None
        Where weights and cache take more of a device's memory the row is left out.
    """

    source: str
    table: str
    name: str
    use: Literal["fit", "check"]
    scenario: dict[str, Any]
    quantity: Quantity
    measured: float
    peers: str
    fullest: float | None = None


def rows_of(source: str, entry: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of a file."""
    for table in entry.get("tables", ()):
        for row in table["rows"]:
            yield _of_table(source, entry, table, row)
    for cell in entry.get("cells", ()):
        for length, times in cell["seconds"].items():
            for batch, measured in times.items():
                yield _of_cell(source, entry, cell, (int(length), int(batch)), measured)


def _of_table(
    source: str, entry: Mapping[str, Any], table: Mapping[str, Any], row: Mapping[str, Any]
) -> Row:
    workload = {**entry["workload"], **table.get("workload", {}), **row.get("workload", {})}
    nodes = row.get("nodes", table.get("nodes", 1))
    scenario = _scenario(entry, row.get("model"), workload, row["strategy"], nodes)
    work = "/".join(str(workload.get(key, "")) for key in ("prompt", "cached"))
    return Row(
        source, table["title"], row["name"], row.get("use", "check"), scenario,
        table["quantity"], row["seconds"], f"{row.get('model', '')}/{table['title']}/{work}",
    )  # fmt: skip


def _of_cell(
    source: str,
    entry: Mapping[str, Any],
    cell: Mapping[str, Any],
    case: tuple[int, int],
    measured: float,
) -> Row:
    (length, batch), engine = case, cell["engine"]
    own = {"prompt": length, "new_tokens": length, "batch": batch, **entry["engines"][engine]}
    strategy = {"kind": "tp", "degree": cell["tp"]}
    scenario = _scenario(entry, cell["model"], {**entry["workload"], **own}, strategy, 1)
    name = f"{cell['model']}, tp {cell['tp']}, {length} tokens, batch {batch}"
    return Row(
        source, engine, name, cell.get("use", "check"), scenario, entry["quantity"], measured,
        f"{engine}/{cell['model']}/{length}/{batch}", entry["fullest"][engine],
    )  # fmt: skip


def _scenario(
    entry: Mapping[str, Any],
    model: str | None,
    workload: Mapping[str, Any],
    strategy: Mapping[str, Any],
    nodes: int,
) -> dict[str, Any]:
    found = {
        "name": "published",
        "model": entry["models"][model] if model else entry["model"],
        "workload": dict(workload),
        "topology": _topology(entry["topology"], strategy, nodes),
        "strategy": dict(strategy),
        "kernels": entry["kernels"],
    }
    return {**found, "timing": _timing(entry["timing"])} if "timing" in entry else found


def _topology(
    topology: Mapping[str, Any], strategy: Mapping[str, Any], nodes: int
) -> dict[str, Any]:
    """Return that many nodes; one node, or as many of its devices as there are ranks."""
    if nodes > 1:
        return {**topology, "nodes": nodes}
    node = topology.get("node", topology)
    return {**node, "ranks": strategy["degree"]}


def _timing(timing: Mapping[str, Any]) -> dict[str, Any]:
    """Return it with the protocols of the profile's file, and those beside them."""
    profile = dict(timing["profile"])
    if more := profile.pop("further_protocols", ()):
        own = read(shipped("topologies") / "profiles" / profile["file"])["protocols"]
        profile["protocols"] = [*own, *more]
    return {"profile": profile}
