"""Oracles at full size without hardware: torch counts, and the simulator's counts beside it."""
