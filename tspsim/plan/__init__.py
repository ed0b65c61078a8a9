"""The best ways of running a step on given hardware: enumerated, bounded, and simulated."""

from tspsim.plan.misses import Miss
from tspsim.plan.search import Answer, Ranked, plan

__all__ = ["Answer", "Miss", "Ranked", "plan"]
