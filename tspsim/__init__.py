"""tspsim: a discrete-event simulator of parallel schedules for transformers.

    >>> import tspsim
    >>> result = tspsim.run("tsp-layer", "workload.sequence=32768")
    >>> result.fits
    True
    >>> axes = result.plot.gantt()

A scenario needs no file:

    >>> scenario = tspsim.Scenario(
    ...     model=tspsim.Model("llama-3-8b", layers=2),
    ...     workload=tspsim.Workload(sequence=8192),
    ...     topology="h100-node",
    ...     strategy=tspsim.TSP(degree=8),
    ... )
    >>> tspsim.compare(scenario, "strategy=tsp,tp").winner.name
    'tp 8'

Commands that answer a question are functions: `run`, `compare`, `sweep`, `plan`, `explain`, `serve`
and `check`. The public names below are imported when they are first used, so that ``import tspsim``
and the command line's help stay quick.
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
        InferencePlan,
        Plan,
        Proof,
        Serving,
        check,
        compare,
        compare_trace,
        explain,
        plan,
        serve,
    )  # fmt: skip
    from tspsim.files.errors import (
        OutputError,
        ScenarioError,
        ScheduleError,
        TspsimError,
        UserError,
    )  # fmt: skip
    from tspsim.result import Result
    from tspsim.runner import Run, load_result, run
    from tspsim.scenario import Scenario, load
    from tspsim.scenario.typed import (
        FSDP,
        SP,
        TP,
        TPSP,
        TSP,
        Blocks,
        BytesPerParameter,
        Cache,
        ChangedLink,
        Checkpoint,
        Device,
        Distribution,
        Disturbances,
        Engine,
        Experts,
        Failure,
        Jitter,
        Kernels,
        Latent,
        Link,
        Memory,
        Model,
        Network,
        Optimizer,
        Pipeline,
        Profile,
        Reliability,
        Router,
        Routing,
        SlowDevice,
        Spread,
        Strategy,
        Timing,
        Topology,
        Weights,
        Workload,
    )  # fmt: skip
    from tspsim.sweeps import Sample, Store, Sweep, sweep

__version__ = "0.1.0"

__all__ = [
    "FSDP", "SP", "TP", "TPSP", "TSP", "Beside", "Blocks", "BytesPerParameter", "Cache",
    "ChangedLink", "Checkpoint", "Comparison", "Device", "Distribution", "Disturbances", "Engine",
    "Experts", "Explained", "Failure", "InferencePlan", "Jitter", "Kernels", "Latent", "Link",
    "Memory", "Model", "Network", "Optimizer", "OutputError", "Pipeline", "Plan", "Profile",
    "Proof", "Reliability", "Result", "Router", "Routing", "Run", "Sample", "Scenario",
    "ScenarioError", "ScheduleError", "Serving", "SlowDevice", "Spread", "Store", "Strategy",
    "Sweep", "Timing", "Topology", "TspsimError", "UserError", "Weights", "Workload", "__version__",
    "check", "compare", "compare_trace", "explain", "load", "load_result", "plan", "run", "serve",
    "sweep",
]  # fmt: skip

#: Where the public names are; sections of a scenario are in `tspsim.scenario.typed`.
_HOMES = {
    "tspsim.commands": (
        "Beside", "Comparison", "Explained", "InferencePlan", "Plan", "Proof", "Serving", "check",
        "compare", "compare_trace", "explain", "plan", "serve",
    ),
    "tspsim.files.errors": (
        "OutputError", "ScenarioError", "ScheduleError", "TspsimError", "UserError",
    ),
    "tspsim.result": ("Result",),
    "tspsim.runner": ("Run", "load_result", "run"),
    "tspsim.scenario": ("Scenario", "load"),
    "tspsim.sweeps": ("Sample", "Store", "Sweep", "sweep"),
}  # fmt: skip
_HOME = dict.fromkeys(__all__, "tspsim.scenario.typed")
_HOME |= {name: home for home, names in _HOMES.items() for name in names}


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
