"""Fabrics of every kind, at random, for a given number of devices."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tspsim.files.shipped import names

DTYPES = ("bf16", "fp16", "fp32", "fp64")


def topology(rng: Random, devices: int) -> dict[str, Any]:
    """Return the keys of ``topology:`` for so many devices."""
    kind = rng.choice(("ring", "line", "full", "switch", "grid", "nodes", "nodes", "custom"))
    if kind == "custom":
        return _custom(rng, devices)
    inside = _nodes(rng, devices) if kind == "nodes" else _flat(rng, kind, devices)
    return {**inside, "device": device(rng)}


def device(rng: Random) -> Any:
    """Return a shipped device, or one with figures of its own."""
    if rng.random() < 0.4:
        return rng.choice(("a100-sxm-80gb", "h100-sxm", "mi300x"))
    found = {
        "name": "made-up",
        "flop_rate": dict.fromkeys(DTYPES, f"{rng.choice((1, 50, 989.4))} TFLOP/s"),
        "memory_bandwidth": f"{rng.choice((0.1, 1.6, 3.35))} TB/s",
        "memory": rng.choice(("1 GiB", "16 GiB", "80 GB", "1 MiB")),
        "launch": rng.choice(("0 s", "3 us", "100 ns")),
    }
    return found | ({"profile": profile(rng)} if rng.random() < 0.4 else {})


def profile(rng: Random) -> Any:
    """Return a shipped profile, or one with curves, interference and protocols of its own."""
    if rng.random() < 0.3:
        return rng.choice(names("topologies/profiles"))
    found: dict[str, Any] = {"name": "made-up"}
    if rng.random() < 0.6:
        kinds = ("matmul", "grouped", "attention", "attention_backward", "elementwise")
        found["curves"] = {kind: _curve(rng) for kind in rng.sample(kinds, rng.randint(1, 4))}
    if rng.random() < 0.4:
        found["interference"] = rng.choice((0.5, 0.8, 0.93))
    if rng.random() < 0.4:
        found["launch"] = rng.choice(("0 s", "5 us"))
    if rng.random() < 0.4:
        found["protocols"] = [_protocol(rng) for _ in range(rng.randint(1, 3))]
    return found


def _curve(rng: Random) -> list[list[float]]:
    sizes = sorted(rng.sample((1.0, 1e3, 1e6, 1e9, 1e12), rng.randint(1, 4)))
    return [[size, rng.choice((0.1, 0.5, 0.9, 1.0))] for size in sizes]


def _protocol(rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        "latency": rng.choice(("0 s", "2 us", "20 us")),
        "efficiency": rng.choice((0.3, 0.85, 1.0)),
        "network": rng.random() < 0.5,
    }
    if rng.random() < 0.3:
        found["collective"] = rng.choice(("all_reduce", "all_gather", "broadcast"))
    if rng.random() < 0.3:
        found |= {"algorithm": rng.choice(("ring", "direct")), "first": "64 KiB"}
    return found


def _link(rng: Random) -> dict[str, str]:
    bandwidth = rng.choice(("64 GB/s", "450 GB/s", "400 Gbit/s", "1 GB/s"))
    return {"bandwidth": bandwidth, "latency": rng.choice(("1 us", "500 ns", "20 us", "0 s"))}


def _flat(rng: Random, kind: str, devices: int) -> dict[str, Any]:
    if kind == "grid":
        shape = rng.choice([s for s in _shapes(devices) if len(s) <= 3])
        return {"kind": rng.choice(("mesh", "torus")), "shape": shape, "link": _link(rng)}
    found = {"kind": kind, "ranks": devices, "link": _link(rng)}
    return found | ({"reducing": rng.random() < 0.5} if kind == "switch" else {})


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _shapes(devices: int) -> list[list[int]]:
    return [
        [a, b, devices // a // b] if b < devices // a else [a, b]
        for a in _divisors(devices)
        for b in _divisors(devices // a)
    ]


def _nodes(rng: Random, devices: int) -> dict[str, Any]:
    nodes = rng.choice(_divisors(devices))
    size = devices // nodes
    inside = rng.choice(("ring", "full", "switch", "grid"))
    fabrics = ("rails", "rail_optimised", "fat_tree", "dragonfly")
    fabric = rng.choice(fabrics if nodes > 1 else fabrics[:3])
    found = {"kind": "nodes", "nodes": nodes, "node": _flat(rng, inside, size), "nic": _link(rng),
             "fabric": fabric, "hop": rng.choice(("0 s", "300 ns"))}  # fmt: skip
    if rng.random() < 0.5:
        found["nics"] = rng.choice(_divisors(size))
    if fabric != "rails":
        found["oversubscription"] = rng.choice((1, 2, 3.5)) * 1.0
    if fabric == "fat_tree":
        found["nodes_per_leaf"] = rng.choice(_divisors(nodes))
    if fabric == "dragonfly":
        found["groups"] = rng.choice(_divisors(nodes)[1:])
    return found


def _custom(rng: Random, devices: int) -> dict[str, Any]:
    """Return a line, a star or both, with some more links between."""
    pairs = {(f"d{i}", f"d{i + 1}") for i in range(devices - 1)} if rng.random() < 0.6 else set()
    if not pairs or rng.random() < 0.3:
        pairs |= {(f"d{i}", "hub") for i in range(devices)}
    pairs |= {
        (f"d{a}", f"d{b}") for a in range(devices) for b in range(a + 2, devices)
        if rng.random() < 0.2
    }  # fmt: skip
    links = [{"from": a, "to": b, **_link(rng)} for a, b in sorted(pairs)]
    kinds: list[Callable[[], Any]] = [lambda: one, lambda: device(rng)]
    one, made = device(rng), kinds[rng.random() < 0.2]
    return {"kind": "custom", "devices": [made() for _ in range(devices)], "links": links}
