"""Sweeps: one scenario at every point of a grid, and a store of what came of each.

The straight line of a sweep::

    key=values ── study ──▶ points ── crew: batches of points ──▶ outcomes ── store ──▶ rows, table

`tspsim.sweep` (`tspsim.sweeps.run.sweep`) does it from Python; `Store.open` reads the folder of
a sweep again (`tspsim.sweeps.store`).
"""

from tspsim.sweeps.run import Sweep, sweep
from tspsim.sweeps.samples import Sample
from tspsim.sweeps.store import AxisInfo, Row, Store

__all__ = ["AxisInfo", "Row", "Sample", "Store", "Sweep", "sweep"]
