"""Small scenarios of a mixture of experts, four ranks on one switch unless something is said."""

from __future__ import annotations

from typing import Any

import tspsim

SWITCH: dict[str, Any] = {
    "kind": "switch", "ranks": 4, "device": "h100-sxm", "reducing": True,
    "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
}  # fmt: skip
#: Of 16 choices of 8 tokens: the first expert has twice the mean, the last one half of it.
SKEWED = {"table": [[8, 4, 2, 2]]}


def mixture(**changes: Any) -> dict[str, Any]:
    """Return a scenario; ``model={...}`` adds keys to a section, ``experts={...}`` to these."""
    experts = {"count": 4, "active": 2, "width": 128, **changes.pop("experts", {})}
    whole: dict[str, Any] = {
        "name": "mixture",
        "model": {"hidden": 64, "layers": 3, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
        "workload": {"sequence": 512},
        "topology": SWITCH,
        "strategy": {"kind": "tsp", "degree": 4},
        "memory": {"blas": "0 B", "communicator": "0 B"},
    }
    whole["model"]["experts"] = experts
    for section, keys in changes.items():
        whole[section] = {**whole.get(section, {}), **keys}
    return whole


def ran(*overrides: str, **changes: Any) -> tspsim.Run:
    """Return the run of a small mixture."""
    return tspsim.run(mixture(**changes), *overrides)
