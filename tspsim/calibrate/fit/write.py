"""The files of a fit: the profile, a topology per number of ranks, intervals, residual plot."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tspsim.calibrate.fit.constants import Constants
from tspsim.calibrate.fit.curves import rounded
from tspsim.calibrate.fit.network import WAY_IN
from tspsim.calibrate.rows import Machine
from tspsim.files.writing import make_folder, whole, write_text


def profile_document(found: Constants, name: str) -> dict[str, Any]:
    """Return the profile as its file holds it."""
    curves = {
        kind: [[size, efficiency] for size, efficiency in points]
        for kind, points in found.compute.curves.items()
    }
    fits = {
        kind: {key: value for key, value in asdict(quality).items() if value is not None}
        for kind, quality in found.quality.items()
    }
    return {
        "name": name,
        "curves": curves,
        "launch": seconds(found.compute.launch),
        "interference": found.interference,
        "collectives": found.network.algorithms,
        "fits": fits,
        "source": about(found.machine),
    }


def about(machine: Machine) -> str:
    """Return in words where constants come from."""
    link = {
        "namespaces": f"{(machine.rate or 0) / 1e6:g} Mbit/s links between namespaces",
        "loopback": "loopback",
        "device": "the device's own links",
    }[machine.link]
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"measured with 'tspsim calibrate' on {machine.device} ({machine.cores} cores), "
        f"{machine.backend} over {link}; {versions}"
    )


def topology_document(found: Constants, ranks: int, profile: str) -> dict[str, Any]:
    """Return ranks around a switch; more ranks than cores share them.

    Parameters
    ----------
    found : Constants
    ranks : int
    profile : str
        File of the profile that the devices name.
    """
    share = min(1.0, found.machine.cores / ranks)
    device = {
        "name": found.machine.device,
        "flop_rate": {"fp32": f"{rounded(found.compute.flop_rate * share / 1e9):g} GFLOP/s"},
        "memory_bandwidth": rate(found.compute.memory_bandwidth * share),
        "memory": f"{found.machine.memory // ranks} B",
        "profile": profile,
    }
    wide, latency = found.network.bandwidth, found.network.latency
    links = [
        line
        for i in range(ranks)
        for line in (
            {"from": f"d{i}", "to": "switch", "both": False, "bandwidth": rate(wide)}
            | {"latency": seconds(latency)},
            {"from": "switch", "to": f"d{i}", "both": False, "bandwidth": rate(wide * WAY_IN)}
            | {"latency": "0 s"},
        )
    ]
    return {
        "name": f"{ranks}-ranks", "kind": "custom", "devices": [device] * ranks, "links": links,
        "source": about(found.machine),
    }  # fmt: skip


def seconds(value: float) -> str:
    """Return a time as files state it."""
    return f"{value * 1e6:.4g} us"


def rate(value: float) -> str:
    """Return a rate as files state it."""
    return f"{value / 1e6:.4g} MB/s"


def intervals_document(found: Constants) -> dict[str, Any]:
    """Return the scalar constants with their 90 % intervals, in SI units."""
    values = {
        "flop_rate": found.compute.flop_rate,
        "memory_bandwidth": found.compute.memory_bandwidth,
        "launch": found.compute.launch,
        "bandwidth": found.network.bandwidth,
        "latency": found.network.latency,
        "interference": found.interference,
    }
    return {
        name: {"value": value, "low": found.intervals[name][0], "high": found.intervals[name][1]}
        for name, value in values.items()
    }


def write(found: Constants, target: Path, ranks: list[int]) -> list[Path]:
    """Write all files of a fit beside the profile; return their paths.

    Parameters
    ----------
    found : Constants
    target : Path
        The profile's file.
    ranks : list of int
        Numbers of ranks that get a topology.
    """
    make_folder(target.parent)
    stem = target.stem
    write_text(target, yaml(profile_document(found, stem)))
    paths = [target]
    for count in ranks:
        path = target.with_name(f"{stem}-{count}-ranks.yaml")
        write_text(path, yaml(topology_document(found, count, target.name)))
        paths.append(path)
    path = target.with_name(f"{stem}-intervals.json")
    write_text(path, json.dumps(intervals_document(found), indent=1) + "\n")
    picture = target.with_name(f"{stem}-residuals.png")
    draw(found, picture)
    return [*paths, path, picture]


def yaml(document: dict[str, Any]) -> str:
    """Return a document as YAML, short lists on one line."""
    from ruamel.yaml import YAML

    dumper = YAML()
    dumper.default_flow_style = None
    dumper.width = 96
    dumper.representer.ignore_aliases = lambda _: True
    stream = io.StringIO()
    dumper.dump(document, stream)
    return stream.getvalue()


def draw(found: Constants, path: Path) -> None:
    """Draw the error of every row over its measured time, held-out rows hollow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    ax = figure.add_subplot()
    for index, name in enumerate(found.quality):
        for use in ("fit", "held_out"):
            some = [r for r in found.residuals if r.name == name and r.row.use == use]
            ax.scatter(
                [r.row.median * 1e3 for r in some], [r.error * 100 for r in some], s=22,
                marker="osD^v<>ph*P"[index % 11], edgecolors=f"C{index % 10}",
                facecolors=f"C{index % 10}" if use == "fit" else "none",
                label=name if use == "fit" else None,
            )  # fmt: skip
    ax.axhline(0, color="grey", lw=0.8)
    ax.set_xscale("log")
    ax.set_xlabel("measured [ms]")
    ax.set_ylabel("predicted / measured - 1 [%]")
    ax.set_title("residuals: filled rows were fitted to, hollow ones held out", loc="left")
    ax.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    with whole(path) as partial:
        figure.savefig(partial, dpi=110, metadata={"Software": None})
