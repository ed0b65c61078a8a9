"""The best ways of running a step on given hardware: enumerated, bounded, and simulated."""

from tspsim.plan.search import Answer, Miss, Ranked, plan

__all__ = ["Answer", "Miss", "Ranked", "plan"]
