"""The best ways of running a step on given hardware: enumerated, bounded, and simulated.

``tspsim.plan(...)`` asks for them: it is `tspsim.commands.plan`.
"""

import sys

from tspsim import Command
from tspsim.plan.misses import Miss
from tspsim.plan.search import Answer, Ranked, plan

__all__ = ["Answer", "Miss", "Ranked", "plan"]

sys.modules[__name__].__class__ = Command
