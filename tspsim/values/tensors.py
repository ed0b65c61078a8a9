"""Arrays of the dense model."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float: TypeAlias = NDArray[np.float64]
Tensors: TypeAlias = dict[str, NDArray[Any]]
