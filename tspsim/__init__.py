"""tspsim: a discrete-event simulator of parallel schedules for transformers.

    >>> import tspsim
    >>> result = tspsim.run("tsp-layer", "workload.sequence=32768")
    >>> result.fits
    True
    >>> axes = result.plot.gantt()

Commands that answer a question are functions: `run`, `compare`, `sweep`, `plan` and `explain`.
The public names below are imported when they are first used, so that ``import tspsim`` and the
command line's help stay quick.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature

    from tspsim.commands import (
        Beside,
        Comparison,
        Explained,
        Plan,
        compare,
        compare_trace,
        explain,
        plan,
    )
    from tspsim.files.errors import TspsimError
    from tspsim.result import Result
    from tspsim.runner import Run, run
    from tspsim.scenario import Scenario, load
    from tspsim.sweeps import Sample, Store, Sweep, sweep

__version__ = "0.1.0"

__all__ = [
    "Beside", "Comparison", "Explained", "Plan", "Result", "Run", "Sample", "Scenario", "Store",
    "Sweep", "TspsimError", "__version__", "compare", "compare_trace", "explain", "load", "plan",
    "run", "sweep",
]  # fmt: skip

_HOME = {
    "Beside": "tspsim.commands",
    "Comparison": "tspsim.commands",
    "Explained": "tspsim.commands",
    "Plan": "tspsim.commands",
    "Result": "tspsim.result",
    "Run": "tspsim.runner",
    "Sample": "tspsim.sweeps",
    "Scenario": "tspsim.scenario",
    "Store": "tspsim.sweeps",
    "Sweep": "tspsim.sweeps",
    "TspsimError": "tspsim.files.errors",
    "compare": "tspsim.commands",
    "compare_trace": "tspsim.commands",
    "explain": "tspsim.explain",
    "load": "tspsim.scenario",
    "plan": "tspsim.plan",
    "run": "tspsim.runner",
    "sweep": "tspsim.sweeps",
}


class Command(ModuleType):
    """A package that is called as the command of its name: ``tspsim.plan("tsp-layer")``.

    Whatever imports ``tspsim.plan.search`` makes ``tspsim.plan`` the package, so the package itself
    has to be the function, too.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function of this name in `tspsim.commands`."""
        return self._function(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        """What the function takes, for those who complete or look it up."""
        from inspect import signature  # quick as the rest, where nobody asks

        return signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        commands = importlib.import_module("tspsim.commands")
        function: Callable[..., Any] = getattr(commands, self.__name__.rpartition(".")[2])
        return function


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tspsim' has no attribute '{name}'")
    home = importlib.import_module(_HOME[name])
    return home if isinstance(home, Command) else getattr(home, name)


def __dir__() -> list[str]:
    return __all__
