"""tspsim: a discrete-event simulator of parallel schedules for transformers.

    >>> import tspsim
    >>> result = tspsim.run("scenarios/tsp.yaml", "strategy.degree=4")   # doctest: +SKIP
    >>> result.frame(), result.plot.gantt()                              # doctest: +SKIP

The public names below are imported when they are first used, so that ``import tspsim`` and the
command line's help stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tspsim.files.errors import TspsimError
    from tspsim.runner import Run as Result
    from tspsim.runner import run
    from tspsim.scenario import Scenario, load
    from tspsim.sweeps import Sample, Store, Sweep, sweep

__version__ = "0.1.0"

__all__ = [
    "Result", "Sample", "Scenario", "Store", "Sweep", "TspsimError", "__version__", "load", "run",
    "sweep",
]  # fmt: skip

#: Where each name is at home: its module, and what it is called there.
_HOME = {
    "Result": ("tspsim.runner", "Run"),
    "Sample": ("tspsim.sweeps", "Sample"),
    "Scenario": ("tspsim.scenario", "Scenario"),
    "Store": ("tspsim.sweeps", "Store"),
    "Sweep": ("tspsim.sweeps", "Sweep"),
    "TspsimError": ("tspsim.files.errors", "TspsimError"),
    "load": ("tspsim.scenario", "load"),
    "run": ("tspsim.runner", "run"),
    "sweep": ("tspsim.sweeps", "sweep"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tspsim' has no attribute '{name}'")
    module, own = _HOME[name]
    return getattr(importlib.import_module(module), own)


def __dir__() -> list[str]:
    return __all__
