"""tspsim: a discrete-event simulator of parallel schedules for transformers.

    >>> import tspsim
    >>> result = tspsim.run("tsp-layer", "workload.sequence=32768")
    >>> result.fits
    True
    >>> axes = result.plot.gantt()

The public names below are imported when they are first used, so that ``import tspsim`` and the
command line's help stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tspsim.files.errors import TspsimError
    from tspsim.result import Result
    from tspsim.runner import Run, run
    from tspsim.scenario import Scenario, load
    from tspsim.sweeps import Sample, Store, Sweep, sweep

__version__ = "0.1.0"

__all__ = [
    "Result", "Run", "Sample", "Scenario", "Store", "Sweep", "TspsimError", "__version__", "load",
    "run", "sweep",
]  # fmt: skip

_HOME = {
    "Result": "tspsim.result",
    "Run": "tspsim.runner",
    "Sample": "tspsim.sweeps",
    "Scenario": "tspsim.scenario",
    "Store": "tspsim.sweeps",
    "Sweep": "tspsim.sweeps",
    "TspsimError": "tspsim.files.errors",
    "load": "tspsim.scenario",
    "run": "tspsim.runner",
    "sweep": "tspsim.sweeps",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tspsim' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
