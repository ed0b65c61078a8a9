"""The commands as functions: ``tspsim.compare``, ``explain``, ``plan``, ``serve`` and ``check``.

What they answer prints itself as the command does, shows itself in a notebook, and is a table of
pandas. ``tspsim.run`` and ``tspsim.sweep`` have homes of their own, in `tspsim.runner` and
`tspsim.sweeps.run`.
"""

from tspsim.commands.comparison import Comparison, compare
from tspsim.commands.explanation import Explained, explain
from tspsim.commands.planning import InferencePlan, Plan, plan
from tspsim.commands.proof import Proof, check
from tspsim.commands.served import Serving, serve
from tspsim.reports.beside import Beside, compare_trace

__all__ = [
    "Beside", "Comparison", "Explained", "InferencePlan", "Plan", "Proof", "Serving", "check",
    "compare", "compare_trace", "explain", "plan", "serve",
]  # fmt: skip
