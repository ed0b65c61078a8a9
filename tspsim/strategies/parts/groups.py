"""Weights whose gradients, or which themselves, are cut over ranks that hold the same ones.

Such weights travel group by group: a layer, or what both ends of the model hold. With zero 3 a group
is gathered before it is needed and let go behind it, in the order of torch's FSDP2: a gather begins
when the group is begun with that the gather before it has brought, so two are there at a time.
Gradients are added up in buffers of their own, and reduce-scattered behind the group's backward.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tspsim.program.chunks import Layout, flat, shard_elements
from tspsim.program.kinds.in_place import part
from tspsim.program.kinds.shards import Keep
from tspsim.program.packed import Weights, elements
from tspsim.program.rank import Rank
from tspsim.program.recorder import Slots
from tspsim.program.replicas import REDUCE_ITEMSIZE
from tspsim.program.residents import layout_of
from tspsim.program.types import Operand

#: So many layers' gradients are there at a time: one added up, the other on its way.
GRADIENTS = 2


class Groups:
    """What all groups of a rank have in common.

    Parameters
    ----------
    rank : Rank
    """

    def __init__(self, rank: Rank) -> None:
        self.rank, self.options = rank, rank.replication
        self.inside = rank.axis(self.options.inside)
        self.outside = rank.axis(self.options.outside) if self.options.outside else None
        #: Gradients are reduced behind every micro-batch.
        self.syncs = rank.zero >= 2 and self.options.sync == "every"
        #: Several micro-batches are between forward and backward.
        self.piped = rank.stages.order.ranks > 1
        self.itemsize = REDUCE_ITEMSIZE.get(self.options.reduce or "", rank.optimizer.gradient)
        #: The compute op before the group that was begun with last.
        self.begun = -1
        self._slots: dict[int, Slots] = defaultdict(lambda: rank.slots(GRADIENTS))

    def slots(self, position: int) -> Slots | None:
        """Return where gradients of the weights at a position of a layer are added up."""
        return self._slots[position] if self.syncs else None


class Group:
    """Weights that travel together, as they come and go.

    Parameters
    ----------
    groups : Groups
    packs : sequence of Weights
        As they are resident.
    layer : int, optional
        Whose they are. Not given: of the model's ends; from their forward they stay for backward.
    """

    def __init__(self, groups: Groups, packs: Sequence[Weights], layer: int | None = None) -> None:
        self.common, self.rank, self.layer = groups, groups.rank, layer
        self.packs = tuple(packs)
        self._layouts = [layout_of(self.rank, w.value) for w in packs]
        self._whole: tuple[Operand, ...] = ()  # what has been gathered
        self._new = False  # nothing has read it yet
        self._kept: tuple[Operand, ...] = ()  # parts that neighbours keep from forward on
        self._sums: dict[int, Operand] = {}  # gradients, by position

    def now(self, w: Weights, *, gradient: bool = False) -> Weights:
        """Return weights of the group as ops read them, and where their gradient is added up."""
        if self.rank.zero < 2:
            return w
        at = self._position(w)
        value = self._whole[at] if self._whole else w.value.flat
        return w.over(value, self._sum(at) if gradient else None)

    def _position(self, w: Weights) -> int:
        flats = [held.value.flat.buffer.index for held in self.packs]
        return flats.index(w.value.flat.buffer.index)

    # ---- weights -----------------------------------------------------------------------------

    def gather(self) -> None:
        """Have the weights come, unless they are there."""
        if self.rank.zero < 3 or self._whole or not self.packs:
            return
        with self.rank.behind(self.common.begun), self.rank.at(layer=self.layer):
            self._whole, self._new = self._gathered(), True

    def _gathered(self) -> tuple[Operand, ...]:
        axis, layouts = self.common.inside, self._layouts
        shards = tuple(w.value.flat for w in self.packs)
        if self._kept:
            shards, self._kept = self._kept, ()
            axis = self.rank.axis(self.common.options.inside, self.common.options.reshard)
            layouts = [flat(size) for size in self._sizes]
        return axis.gather_shards(*shards, layouts=layouts, lane="weights", label="weights")

    @property
    def _sizes(self) -> list[int]:
        return [elements(w.value.parts) for w in self.packs]

    def begin(self) -> None:
        """Gather the weights, unless they are there: what is recorded next reads them."""
        self.gather()
        if self._new:
            self.common.begun, self._new = self.rank.computed, False

    def leave(self) -> None:
        """Let the weights go behind forward, if they are to."""
        reshard = self.common.options.reshard
        if self._whole and reshard is not False:
            self._kept = self._parts(reshard) if reshard is not True and self.rank.trains else ()
            self._whole = ()

    def _parts(self, count: int) -> tuple[Operand, ...]:
        """Record what each of so many neighbours keeps of the gathered weights."""
        rank, kind = self.rank, Keep(self.common.options.inside, count)
        outs = tuple(
            rank.buffer("kept", (part(size, count),), rank.optimizer.weight, "workspace")
            for size in self._sizes
        )
        rank.compute(kind, self._whole, outs, "keep")
        return outs

    def finish(self) -> None:
        """Let the weights go behind backward; stages of a pipeline keep what stays at all."""
        stays = self.layer is None or self.common.options.reshard is False
        if not (self.common.piped and stays):
            self._whole = ()

    # ---- gradients ---------------------------------------------------------------------------

    def _sum(self, at: int) -> Operand:
        if at not in self._sums:
            value, slots = self.packs[at].value, None
            if self.layer is not None:
                slots = self.common.slots(at)
            shape = (elements(value.parts),)
            name = f"d{value.flat.buffer.name}"
            self._sums[at] = self.rank.accumulator(name, shape, self.common.itemsize, slots)
        return self._sums[at]

    def reduce(self) -> None:
        """Add the rank's parts of the gradients, summed over the group, to the resident ones."""
        if not self._sums:
            return
        sums = [self._sums[at] for at in sorted(self._sums)]
        layouts = [self._layouts[at] for at in sorted(self._sums)]
        targets = [self.packs[at].gradient.flat for at in sorted(self._sums)]
        self._sums = {}
        outside = self.common.outside
        into = targets if outside is None else self._fresh(layouts)
        label = {"lane": "gradients", "label": "gradients"}
        self.common.inside.reduce_to_shards(*sums, into=into, layouts=layouts, **label)
        if outside is not None:
            outside.all_reduce_into(*into, into=targets, **label)

    def _fresh(self, layouts: Sequence[Layout]) -> list[Operand]:
        """Return where one block's sums arrive before those of the others are added."""
        counts = [shard_elements(layout, self.rank.members) for layout in layouts]
        return [self.rank.accumulator("dshard", (n,), self.common.itemsize) for n in counts]
