"""The tables of docs/topologies.md, from the shipped files, and its pictures.

``python docs/refresh.py topologies`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tspsim.files.shipped import names, shipped
from tspsim.topology.fabric import Fabric, parse
from tspsim.topology.files import read
from tspsim.topology.forms import DeviceForm

PAGE = Path(__file__).parent / "topologies.md"
PICTURES = Path(__file__).parent / "topologies"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

_SMALL = {
    "model": {
        "hidden": 1024, "layers": 1, "heads": 256, "kv_heads": 256, "head_dim": 8, "ffn": 2048,
        "vocab": 0,
    },
    "workload": {"sequence": 16384, "phase": "forward"},
}  # fmt: skip
_TP_SP = {"kind": "tp_sp", "tp": 8, "sp": 4}

#: File of a picture: its topology and strategy.
DRAWN = {
    "full": ({"file": "mi300x-node"}, {"kind": "tsp", "degree": 8}),
    "switch": ({"file": "h100-node"}, {"kind": "tsp", "degree": 8}),
    "torus": ({"file": "tpu-v4-cube"}, {"kind": "sp", "degree": 64, "kv": "ring"}),
    "rails": ({"file": "h100-4-nodes"}, _TP_SP),
    "rail-optimised": ({"file": "h100-32-nodes-rail-optimised", "nodes": 4}, _TP_SP),
    "fat-tree": ({"file": "a100-16-nodes-fat-tree", "nodes": 4, "nodes_per_leaf": 2}, _TP_SP),
    "dragonfly": ({"file": "mi250x-16-nodes-dragonfly"}, _TP_SP | {"sp": 16}),
}  # fmt: skip


def _scaled(value: float, unit: str) -> str:
    """Return 5300e9, "B/s" as ``5.3 TB/s``."""
    scale, prefix = (1e12, "T") if value >= 1e12 else (1e9, "G")
    return f"{value / scale:,.4g} {prefix}{unit}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _links(*texts: object) -> str:
    """Return the addresses in some texts, numbered, each once."""
    found = dict.fromkeys(
        re.findall(r"https?://[^\s'\"{}()]*[^\s'\"{}(),;:.]", " ".join(map(str, texts)))
    )
    return " ".join(f"[{number}]({address})" for number, address in enumerate(found, 1))


def devices() -> Iterator[str]:
    """Yield the table of devices."""
    yield _row("device", "bf16 TFLOP/s", "fp8 TFLOP/s", "memory GiB", "bandwidth", "sources")
    yield "|---|---:|---:|---:|---:|---|"
    for name in names("topologies/devices"):
        data = read(shipped("topologies/devices") / f"{name}.yaml")
        form = DeviceForm.model_validate(data)
        half = form.flop_rate.get("bf16")
        rates = [half, form.flop_rate.get("fp8")]
        shown = [f"{rate / 1e12:,.1f}".removesuffix(".0") if rate else "-" for rate in rates]
        if half is None:
            shown[0] = f"{form.flop_rate['fp16'] / 1e12:g} (fp16)"
        bandwidth = _scaled(form.memory_bandwidth, "B/s")
        memory = f"{form.memory / 2**30:.1f}"
        yield _row(f"`{name}`", *shown, memory, bandwidth, _links(data["source"]))


def _forms() -> Iterator[tuple[str, dict[str, object], Fabric]]:
    for name in names("topologies"):
        path = shipped("topologies") / f"{name}.yaml"
        data = read(path)
        yield name, data, parse(data, path.parent)


def nodes() -> Iterator[str]:
    """Yield the table of single nodes, racks and pods."""
    yield _row("topology", "kind", "devices", "links, per direction", "latency", "sources")
    yield "|---|---|---:|---|---:|---|"
    for name, data, form in _forms():
        if form.kind == "nodes":
            continue
        wires = list(form.wires())
        rates = sorted({wire.bandwidth for wire in wires}, reverse=True)
        shown = ", ".join(_scaled(rate, "B/s") for rate in rates)
        latency = max(wire.latency for wire in wires) * (2 if form.kind == "switch" else 1)
        kind = form.kind + (", reducing" if form.reducing() else "")
        shape = " x ".join(map(str, form.grid()))
        devices_ = f"{form.count()} {form.device_forms()[0].name}" + (
            f" ({shape})" if shape else ""
        )
        sources = _links(data["source"], data.get("link"))
        yield _row(f"`{name}`", kind, devices_, shown, f"{latency * 1e6:g} µs", sources)


def clusters() -> Iterator[str]:
    """Yield the table of clusters."""
    yield _row("topology", "fabric", "nodes", "devices", "NIC", "sources")
    yield "|---|---|---:|---:|---|---|"
    for name, data, form in _forms():
        if form.kind == "nodes":
            extra = [
                f"{key} {value:g}"
                for key in ("nodes_per_leaf", "groups", "oversubscription", "nics")
                if (value := getattr(form, key)) and value != 1
            ]
            fabric = ", ".join([data["fabric"], *extra])  # type: ignore[list-item]
            nic = form.nic  # type: ignore[attr-defined]
            shown = f"{nic.bandwidth * 8 / 1e9:g} Gbit/s, {nic.latency * 1e6:g} µs"
            number = str(form.nodes)  # type: ignore[attr-defined]
            sources = _links(data["source"], data["nic"])
            yield _row(f"`{name}`", fabric, number, f"{form.count():,}", shown, sources)


TABLES = {"devices": devices, "nodes": nodes, "clusters": clusters}


def renewed(text: str) -> str:
    """Return the page with its tables made anew."""
    return _TABLE.sub(lambda m: m[1] + "\n".join(TABLES[m[2]]()) + "\n" + m[3], text)


def draw() -> None:
    """Draw the pictures of the page."""
    import tspsim
    from tspsim.output.pictures import draw as picture

    for name, (topology, strategy) in DRAWN.items():
        scenario = {"name": name, "topology": topology, "strategy": strategy, **_SMALL}
        picture("topology", tspsim.run(scenario), PICTURES / f"{name}.png")
