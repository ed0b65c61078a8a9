"""The dense model beside finite differences of its own loss."""

from __future__ import annotations

import numpy as np
import pytest

from tspsim.model import ModelShape, Workload
from tspsim.values.dense import Dense, initial

#: Length of a step along a random direction.
STEP = 1e-5


def check_gradients(model: ModelShape, workload: Workload, least: float | None = None) -> None:
    """Require that every weight's gradient is the slope of the loss along a random direction.

    A slope that is no larger than `least` need not agree to more digits than that.
    """
    tensors = initial(model, workload)
    dense = Dense(model, workload, tensors).run()
    rng = np.random.default_rng(1)
    for name, gradient in dense.gradients.items():
        direction = rng.normal(size=gradient.shape)
        up, down = (
            Dense(model, workload, {**tensors, name: tensors[name] + e * direction}).run().loss
            for e in (STEP, -STEP)
        )
        slope = float((gradient * direction).sum())
        assert (up - down) / (2 * STEP) == pytest.approx(slope, rel=1e-5, abs=least)
