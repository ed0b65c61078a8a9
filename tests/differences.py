"""The dense model beside finite differences of its own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tspsim.model import ModelShape, Workload
from tspsim.values.dense import Dense, initial
from tspsim.values.routes import Routes

#: Length of a step along a random direction.
STEP = 1e-5


def check_gradients(
    model: ModelShape, workload: Workload, least: float | None = None, where: Routes | None = None
) -> None:
    """Require that every weight's gradient is the slope of the loss along a random direction.

    The losses of routers count, where `where` says which experts get which tokens. A slope that is
    no larger than `least` need not agree to more digits than that.
    """
    tensors = initial(model, workload)
    rng = np.random.default_rng(1)

    def loss(**changed: np.ndarray[Any, Any]) -> float:
        found = Dense(model, workload, {**tensors, **changed}, where or {}).run()
        return found.loss + found.router_losses

    for name, gradient in Dense(model, workload, tensors, where or {}).run().gradients.items():
        direction = rng.normal(size=gradient.shape)
        up, down = (loss(**{name: tensors[name] + e * direction}) for e in (STEP, -STEP))
        slope = float((gradient * direction).sum())
        assert (up - down) / (2 * STEP) == pytest.approx(slope, rel=1e-5, abs=least), name
