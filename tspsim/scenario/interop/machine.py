"""The machine that a number of devices makes, after a shipped topology or one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tspsim.files.errors import UserError
from tspsim.files.shipped import locate
from tspsim.scenario.interop.draft import Key
from tspsim.topology.extends import read_whole
from tspsim.topology.fabric import Fabric
from tspsim.topology.load import parse

#: Where nothing is said: a node, and nodes like it.
NODE, NODES = "h100-node", "h100-4-nodes"
_EXAMPLE = "an example: name another with --topology"
#: Generators that have as many devices as they are told: a part of a node is one like it.
_RANKS = ("ring", "line", "full", "switch")


def machine(world: int, topology: str | None) -> dict[str, Any]:
    """Return ``topology:`` with so many devices.

    Parameters
    ----------
    world : int
    topology : str or None
        A file, or a shipped name: its nodes become as many as are needed, and its ranks fewer.

    Raises
    ------
    UserError
        When there is none of this name, or it cannot have so many.
    """
    name = topology or NODE
    form = _form(name)
    if topology is None and world > form.count():
        name, form = NODES, _form(NODES)
    has = form.count()
    if has == world:
        return {"file": name}
    if form.kind in _RANKS and world < has:
        return {"file": name, "ranks": world}
    if form.kind != "nodes":
        hint = (
            f"name one of several nodes, such as {NODES}" if world > has else "name a smaller one"
        )
        raise UserError(f"topology {name}: has {has} devices; {world} are asked for: {hint}")
    each = has // form.model_dump()["nodes"]
    if world % each:
        raise UserError(f"topology {name}: nodes of {each} devices cannot be {world} devices")
    return {"file": name, "nodes": world // each}


def machine_keys(world: int, topology: str | None) -> Iterator[Key]:
    """Yield the keys of `machine`."""
    for name, value in machine(world, topology).items():
        note = f"{world} devices" if name != "file" else "" if topology else _EXAMPLE
        yield Key(("topology", name), value, note=note)


def size(name: str) -> int:
    """Return how many devices a topology has as it is.

    Raises
    ------
    UserError
        When there is none of this name.
    """
    return _form(name).count()


def _form(name: str) -> Fabric:
    path = locate("topology", name, "topologies")
    return parse(read_whole(path, "topologies"), path.parent)
