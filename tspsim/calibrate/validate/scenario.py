"""The scenario of a measured block: the same model, tokens, strategy, and links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.calibrate.rows import Row

#: The measured step ends with ``w -= rate * dw`` and begins with ``dw = 0``: no states.
DESCENT = {"weight": 4, "gradient": 4, "master": 0, "moments": 0}


def scenario(
    row: Row, topology: Mapping[str, Any], profile: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the scenario of a row.

    Parameters
    ----------
    row : Row
        Of a block.
    topology : mapping
        As under ``topology:``, with as many ranks as the block had.
    profile : mapping, optional
        Takes the place of the devices' own.
    """
    case = row.case
    work = {"sequence": case["sequence"], "batch": 1, "phase": "train", "dtype": "fp32"}
    found = {
        "name": title(row),
        "model": case["model"] | {"vocab": 0, "mlp": "gated", "norm": "rmsnorm"},
        "workload": work | {"recompute": "none", "causal": "zigzag"},
        "optimizer": {"kind": "descent", "bytes_per_parameter": DESCENT},
        "topology": dict(topology),
        "kernels": "ideal",  # those of the reference: nothing is kept that it does not read
        "strategy": dict(case["strategy"]),
    }
    return found | ({"timing": {"profile": dict(profile)}} if profile is not None else {})


def title(row: Row) -> str:
    """Return a short name: ``tsp 4, h 512, 1024 tokens``."""
    case = row.case
    return f"{scheme(row)}, h {case['model']['hidden']}, {case['sequence']} tokens"


def scheme(row: Row) -> str:
    """Return the strategy with its degrees: ``sp 4 (ring)``, ``tp 2 x sp 2``."""
    options = row.case["strategy"]
    if options["kind"] == "tp_sp":
        return f"tp {options['tp']} x sp {options['sp']}"
    kv = f" ({options['kv']})" if "kv" in options else ""
    return f"{options['kind']} {options['degree']}{kv}"
