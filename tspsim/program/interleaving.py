"""Two passes recorded as one: see `tspsim.program.weaving`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

from tspsim.program.recorder import Recorder
from tspsim.program.stages import Recorded
from tspsim.program.weaving import Before, Passes, Woven, woven
from tspsim.schedules.orders.actions import Action


class Interleaving(Recorder):
    """A recorder that can play two passes of micro-batches at once."""

    def at_once(
        self, record: Callable[[Action], None], first: Action, second: Action
    ) -> Mapping[int, int]:
        """Record two passes, their ops in turn; return where ops stand that they are recorded as.

        Of a forward and a backward the latter begins: what its experts are to get travels while the
        other attends, and so on in turn (DeepSeek-V3, arXiv 2412.19437, figure 4).

        Parameters
        ----------
        record : callable
            Records a pass.
        first, second : Action
            The second takes slots of its own: both are there at a time.
        """
        ledger, start = self.ledger, len(self.written.ops)
        before = Before(ledger.lanes, ledger.computed, tuple(ledger.awaited))
        record(first)
        middle = len(self.written.ops)
        ledger.side = 1
        record(second)
        ledger.side = 0
        ops, waits = self.written.ops[start:], self.written.waits[start:]
        passes = Passes(ops, waits, start, middle)
        made = woven(passes, before, second_leads=first.kind == "F" and second.backward)
        self._replace(start, made)
        sides = groupby(made.places, key=lambda index: index >= middle)
        for is_second, indices in sides:
            places = [made.places[index] for index in indices]
            stretch = Recorded(second if is_second else first, places[0], places[-1] + 1)
            self._actions.append(stretch)
        return made.places

    def _replace(self, start: int, made: Woven) -> None:
        """Have passes issued in turn that have been recorded one after the other."""
        self.written.ops.cut(start)
        self.written.waits.cut(start)
        for op, waits in zip(made.ops, made.waits, strict=True):
            self.written.ops.append(op)
            self.written.waits.append(waits)
        self.ledger.settle(start, made.ops, made.places)
        self._probes = [p._replace(after=made.places.get(p.after, p.after)) for p in self._probes]
