"""The paper's rule for when TSP moves fewer bytes than TP, as a line over a map.

Per layer and rank TP receives ``4 (D-1)/D B S h`` elements in the forward pass, and TSP
``(D-1)/D (W + 2 B S w)``, with W the weights of a layer and w the width of keys (or values). So TSP
moves less where ``B S > W / (4 h - 2 w)``; with heads of width h / n_h that is
``(2 + 2/g + 3F) / (4 - 2/g) h`` (gated; 2F for a plain MLP), and 8 h for g = 1, F = 4
(arXiv 2604.26294; g query heads share a key, F = MLP width / h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tspsim.model import ModelShape
from tspsim.scenario.schema import ModelKeys
from tspsim.sweeps.store import Row, Store


class Rule(NamedTuple):
    """TSP moves less than TP where batch times sequence is larger than ``factor * hidden``."""

    factor: float
    hidden: int

    @property
    def tokens(self) -> float:
        """Tokens of a micro-batch at which both move as much."""
        return self.factor * self.hidden

    @property
    def text(self) -> str:
        """The rule as it is written on a map."""
        return f"BS > {self.factor:.3g}h"


def rule_of(model: ModelShape) -> Rule | None:
    """Return the rule for a model; None where TP moves less at any length."""
    weights = model.attention_weights + model.mlp_weights
    saved = 4 * model.hidden - model.attended
    return Rule(weights / saved / model.hidden, model.hidden) if saved > 0 else None


def rule(store: Store, rows: Sequence[Row]) -> Rule | None:
    """Return the rule for the model of a sweep; None where rows have different models."""
    keys = dict(store.about()["study"]["scenario"].get("model") or {})
    try:
        for info in store.axes:
            section, _, key = info.key.partition(".")
            if section == "model":
                keys[key] = _only(info.key, rows)
        return rule_of(ModelKeys.model_validate(keys).value())
    except ValueError:
        return None


def batch(store: Store, rows: Sequence[Row]) -> int | None:
    """Return the sequences of a micro-batch; None where rows have different numbers."""
    workload: Mapping[str, Any] = store.about()["study"]["scenario"].get("workload") or {}
    if not any(info.key == "workload.batch" for info in store.axes):
        return int(workload.get("batch", 1))
    try:
        return int(_only("workload.batch", rows))
    except ValueError:
        return None


def _only(key: str, rows: Sequence[Row]) -> Any:
    """Return the value that all rows have."""
    found = {row.axes[key] for row in rows}
    if len(found) != 1:
        raise ValueError(f"{key} has several values")
    return found.pop()
