"""Command lines: keys that there are with odd values, and keys that there are not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzzing import values
from tests.fuzzing.case import SCENARIO, Case
from tests.fuzzing.scenarios import scenario, write

_MORE = (
    "device.flop_rate", "link.bandwidth", "nic.latency", "device", "link", "timing.profile",
    "timing.profile.launch", "engine.fold", "network.detail", "network.algorithm",
    "memory.reserved",
    "optimizer.temporary", "optimizer.bytes_per_parameter.x", "workload.seqence", "strategy",
    "topology", "model.hf", "topology.file", "disturbances.seed", "disturbances.slow_devices",
    "disturbances.links.0.speed", "a.b.c", "0", "model.0", "a..b", ".", "", "=", "--json", "name",
    "strategy.placement.0", "topology.shape.99999999999", "disturbances.jitter.compute.sigma",
)  # fmt: skip
_FACTORS = ("x2", "x0.5", "x0", "x-1", "x1e400", "xNaN", "x", "x1e-320", "x2x2")
#: Options beside overrides that are wrong as often as right.
_OPTIONS = (
    ("--runs", "2"), ("--runs", "0"), ("--runs", "x"), ("--jsn",), ("--json",), ("-o", ""),
    ("-o", "out"), ("-o", SCENARIO), ("-o", f"{SCENARIO}/x"), ("-o", "a\x1bb"),
)  # fmt: skip


def case(rng: Random, folder: Path, _bases: Path) -> Case:
    """Return ``run`` or ``show`` with one to three overrides of a right scenario."""
    document = scenario(rng)
    write(folder / SCENARIO, document)
    changes = [_override(rng, document) for _ in range(rng.choice((1, 1, 2, 3)))]
    command = rng.choice(("run", "show", "show", "explain"))
    more = rng.choice(_OPTIONS) if command == "run" and rng.random() < 0.15 else ()
    quick = ("--quick",) if command == "explain" else ()
    return Case((command, SCENARIO, *quick, *more, *changes))


def _override(rng: Random, document: dict[str, Any]) -> str:
    """Return a change of a key that is there, as a rule by a value of its type, or of another."""
    path = rng.choice(values.spots(document))
    key = ".".join(map(str, path)) if rng.random() < 0.75 else rng.choice(_MORE)
    if rng.random() < 0.05:
        key = values.near(rng, key)
    value = values.near(rng, values.at(document, path)) if rng.random() < 0.6 else values.odd(rng)
    usual = (json.dumps(value), str(value))
    written = rng.choice(usual if rng.random() < 0.8 else (*_FACTORS, "[2, 4", "*a", "&a"))
    return written if rng.random() < 0.02 else f"{key}={written}"
