"""A profile of protocols from imported calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tspsim.calibrate.fit.write import yaml
from tspsim.calibrate.published import protocols
from tspsim.calibrate.published.calls import with_protocols
from tspsim.calibrate.published.rows import Call
from tspsim.files.errors import UserError
from tspsim.files.units import to_text
from tspsim.files.writing import make_folder, write_text
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol


def document(calls: Sequence[Sequence[Call]], topology: str, name: str) -> dict[str, Any]:
    """Return the profile whose protocols explain some logs, each of one collective.

    Raises
    ------
    UserError
        When the topology has fewer devices than a log has ranks, two logs are of one kind, or they
        are of different numbers of ranks.
    """
    _check_alike(calls)
    stated = with_protocols(topology, ())
    ways: list[Protocol] = []
    fits: dict[str, Any] = {}
    for log in calls:
        kind, ranks = log[0].kind, log[0].ranks
        if kind in fits:
            raise UserError(f"{log[0].source}: a second log of {kind}; give one of each kind")
        _check_ranks(log[0], stated)
        seen = [protocols.observe(call, stated) for call in log]
        network = stated.node(ranks - 1) > 0
        found = protocols.fit(seen)
        ways += [replace(way, collective=kind, network=network) for way in found]
        held_out = protocols.held_out_error(seen)
        fits[kind] = {
            "rows": len(seen), "residual": round(protocols.error(found, seen), 4),
            "held_out": len(seen), "error": round(held_out or 0.0, 4),
            "source": f"{Path(log[0].source).name}, {ranks} ranks",
        }  # fmt: skip
    source = f"nccl-tests, imported with 'tspsim calibrate import' for {topology}"
    stated_ways = [_protocol(way) for way in ways]
    return {"name": name, "protocols": stated_ways, "fits": fits, "source": source}


def write(path: Path, found: dict[str, Any]) -> None:
    """Write a profile's file, whole or not at all, and make the folders above it."""
    make_folder(path.parent)
    write_text(path, yaml(found))


def render(found: dict[str, Any]) -> str:
    """Return how well the protocols fit, for people."""
    lines = [f"{'':16} {'rows':>5} {'residual':>9} {'error':>7}"]
    for kind, fit in found["fits"].items():
        cells = f"{fit['rows']:>5} {fit['residual']:>9.1%} {fit['error']:>7.1%}"
        lines.append(f"{kind:16} {cells}  {fit['source']}")
    return "\n".join(lines)


def _check_alike(calls: Sequence[Sequence[Call]]) -> None:
    """Raise unless all logs are of as many ranks: one profile is of one of them."""
    first = calls[0][0]
    for call, *_ in calls[1:]:
        if call.ranks != first.ranks:
            raise UserError(
                f"{call.source}: is of {call.ranks} ranks, {first.source} of {first.ranks}: mixed "
                "numbers of ranks; import each number of its own, into a profile of its own"
            )


def _check_ranks(call: Call, topology: Topology) -> None:
    if call.ranks > len(topology.devices):
        raise UserError(
            f"{call.source}: is of {call.ranks} ranks; topology '{topology.name}' has "
            f"{len(topology.devices)} devices: name a larger one with --topology"
        )
    if call.ranks < 2:
        raise UserError(f"{call.source}: one rank alone says nothing to another")


def _protocol(way: Protocol) -> dict[str, Any]:
    found: dict[str, Any] = {"latency": to_text(way.latency, "s"), "efficiency": way.efficiency}
    found["collective"] = way.collective
    return found | ({"network": True} if way.network else {})
