"""Reads an execution trace, whole or not at all: of a version that is known, and a graph.

What is wrong is named with the number of the node in its file, from 1, and the byte at which it
begins.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.files.extras import need
from tspsim.files.reading import STORED, UnreadableError, read_bytes
from tspsim.output.chakra.schema import KNOWN, messages


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What a file holds.

    Parameters
    ----------
    version : str
        Of Chakra.
    nodes : tuple of message
        In the order of the file.
    """

    version: str
    nodes: tuple[Any, ...]


def read(path: Path) -> Trace:
    """Return the trace that a file holds.

    Raises
    ------
    UserError
        When protobuf is not installed.
    UnreadableError
        When the file is none, is cut off, is of another version, or its nodes are no graph.
    """
    need("google.protobuf", "chakra", f"{path}: an execution trace")
    stream = io.BytesIO(read_bytes(path, most=STORED))
    about = next(_parsed(path, stream, "GlobalMetadata"), (0, None))[1]
    version = _version(path, about)
    found = list(_parsed(path, stream, "Node"))
    places = [f"{path}: node {at}, at byte {byte}" for at, (byte, _) in enumerate(found, 1)]
    nodes = tuple(node for _, node in found)
    _check(nodes, places)
    return Trace(version, nodes)


def _parsed(path: Path, stream: io.BytesIO, kind: str) -> Iterator[tuple[int, Any]]:
    """Yield messages, each with the byte at which it begins."""
    from google.protobuf.message import DecodeError
    from google.protobuf.proto import parse_length_prefixed

    count = 0
    while True:
        byte, count = stream.tell(), count + 1
        try:
            message = parse_length_prefixed(getattr(messages(), kind), stream)
        except (DecodeError, EOFError, ValueError):
            place = f"node {count}, at byte {byte}" if kind == "Node" else f"byte {byte}"
            raise UnreadableError(
                f"{path}: {place} of {len(stream.getbuffer())}: found no whole {kind} of Chakra; "
                "is this an execution trace, and all of it?"
            ) from None
        if message is None:
            return
        yield byte, message


def _version(path: Path, about: Any) -> str:
    """Return Chakra's version: behind that of the trace it was made from, where that is said."""
    if about is None:
        raise UnreadableError(f"{path}: is empty; must begin with a GlobalMetadata of Chakra")
    said = [attr.string_val for attr in about.attr if attr.name == "schema"]
    named = re.search(r"chakra\.(\d+(?:\.\d+)*)$", said[0]) if said else None
    version = named[1] if named else about.version
    if version not in KNOWN:
        found = f"'{said[0]}'" if said else f"version '{version}'" if version else "no version"
        raise UnreadableError(
            f"{path}: byte 0: found {found}; of Chakra's schema are known: {', '.join(KNOWN)}"
        )
    return str(version)


def _check(nodes: tuple[Any, ...], places: list[str]) -> None:
    """Raise unless ids are told apart, nodes depend on nodes that are there, and on no circle."""
    at: dict[int, int] = {}
    for place, node in enumerate(nodes):
        if node.type not in messages().NodeType.values():
            known = ", ".join(messages().NodeType)
            raise UnreadableError(f"{places[place]}: found type {node.type}; known: {known}")
        if at.setdefault(node.id, place) != place:
            raise UnreadableError(
                f"{places[place]}: found id {node.id}, which node {at[node.id] + 1} has already"
            )
    for place, node in enumerate(nodes):
        if missing := [id_ for id_ in _awaited(node) if id_ not in at]:
            raise UnreadableError(f"{places[place]}: depends on id {missing[0]}, which no node has")
    _check_order(nodes, at, places)


def _awaited(node: Any) -> set[int]:
    return {*node.data_deps, *node.ctrl_deps}


def _check_order(nodes: tuple[Any, ...], at: Mapping[int, int], places: list[str]) -> None:
    """Raise when nodes wait for each other."""
    left = [len(_awaited(node)) for node in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        for id_ in _awaited(node):
            after[at[id_]].append(place)
    ready = [place for place, count in enumerate(left) if not count]
    while ready:
        for place in after[ready.pop()]:
            left[place] -= 1
            if not left[place]:
                ready.append(place)
    if any(left):
        first = next(place for place, count in enumerate(left) if count)
        raise UnreadableError(f"{places[first]}: waits for itself, by way of what it depends on")


def summary(trace: Trace) -> dict[str, Any]:
    """Return what a trace holds, as a JSON-able mapping: nodes, microseconds and bytes by kind."""
    schema = messages()
    kinds = {number: name for name, number in schema.NodeType.items()}
    collectives = {number: name for name, number in schema.CollectiveCommType.items()}
    nodes, micros = Counter[str](), Counter[str]()
    calls, sizes = Counter[str](), Counter[str]()
    for node in trace.nodes:
        kind, said = kinds[node.type], _attributes(node)
        nodes[kind] += 1
        micros[kind] += node.duration_micros
        if "comm_size" in said:
            name = collectives.get(said.get("comm_type", -1), kind)
            calls[name] += 1
            sizes[name] += said["comm_size"]
    return {
        "version": trace.version,
        "nodes": {kind: {"count": nodes[kind], "micros": micros[kind]} for kind in nodes},
        "communication": {name: {"count": calls[name], "bytes": sizes[name]} for name in calls},
    }


def _attributes(node: Any) -> dict[str, Any]:
    """Return the attributes that have one value."""
    found = ((attr.name, attr.WhichOneof("value"), attr) for attr in node.attr)
    return {name: getattr(attr, kind) for name, kind, attr in found if kind and "list" not in kind}
