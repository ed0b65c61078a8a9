"""Weights whose gradients, or which themselves, are cut over ranks that hold the same ones.

Such weights travel group by group: a layer, or what both ends of the model hold. With zero 3 a
group is gathered before it is needed and let go behind it, in the order of torch's FSDP2: a gather
begins when the group is begun with that the gather before it has brought, so two are there at a
time. Gradients are added up in buffers of their own, and reduce-scattered behind the group's
backward.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tspsim.program.chunks import flat, shard_elements
from tspsim.program.kinds.cross_entropy import Convert
from tspsim.program.kinds.in_place import part
from tspsim.program.kinds.shards import CopyIn, CopyOut, Keep, LetGo
from tspsim.program.ledger import Slots
from tspsim.program.packed import Weights, elements
from tspsim.program.rank import Rank
from tspsim.program.replicas import REDUCE_ITEMSIZE
from tspsim.program.residents import layout_of
from tspsim.program.types import Operand

_LANE = "gradients"
#: With zero 2, so many layers' gradients are there at a time: one added up, the other on its way.
GRADIENTS = 2


class Groups:
    """What all groups of a rank have in common.

    Parameters
    ----------
    rank : Rank
    """

    def __init__(self, rank: Rank) -> None:
        self.rank, self.options, optimizer = rank, rank.replication, rank.optimizer
        self.inside = rank.axis(self.options.inside)
        self.outside = rank.axis(self.options.outside) if self.options.outside else None
        #: Gradients are reduced behind every micro-batch.
        self.syncs = rank.zero >= 2 and self.options.sync == "every"
        #: Gradients are reduced once per step, or the more often.
        once = not self.syncs or rank.workload.micro_batches == 1
        #: What blocks sum among them is added to what they have summed before.
        self.adds = self.outside is not None and not once
        #: Several micro-batches are between forward and backward.
        self.piped = rank.stages.order.ranks > 1
        #: Bytes of an element: of gathered weights, of gradients that travel, and before they do.
        self.gathered = min(optimizer.weight, rank.workload.itemsize)
        self.reduced = REDUCE_ITEMSIZE.get(self.options.reduce or "", optimizer.gradient)
        added = rank.zero == 3 and (self.syncs or rank.workload.micro_batches == 1)
        self.summed = min(self.gathered, self.reduced) if added else self.reduced
        #: The compute op with which the group came that was begun with last.
        self.begun = -1
        self._slots: dict[int, Slots] = defaultdict(lambda: rank.slots(GRADIENTS))
        self._inputs: tuple[int, list[Operand]] = (-1, [])

    def slots(self, position: int) -> Slots | None:
        """Return where gradients of the weights at a position of a layer are added up."""
        return self._slots[position] if self.syncs and self.rank.zero == 2 else None

    def inputs(self, sizes: Sequence[int]) -> list[Operand]:
        """Return where gradients of so many elements are to lie that are reduced next.

        The same place as before them, once these have been reduced.
        """
        batch, before = self._inputs
        if batch != self.rank.micro_batch or [x.elements for x in before] != list(sizes):
            new = [self.rank.buffer("reduced", (n,), self.reduced, "workspace") for n in sizes]
            self._inputs = self.rank.micro_batch, new
        return self._inputs[1]


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
        self._layouts = tuple(layout_of(self.rank, w.value) for w in packs)
        self._arrived: tuple[Operand, ...] = ()  # gathered, and not copied out
        self._held: tuple[Operand, ...] = ()  # copied out, and held to the end of forward
        self._whole: tuple[Operand, ...] = ()  # as compute reads them
        self._kept: tuple[Operand, ...] = ()  # parts that neighbours keep from forward on
        self._sums: dict[int, Operand] = {}  # gradients, by position

    def now(self, w: Weights, *, gradient: bool = False) -> Weights:
        """Return weights of the group as ops read them, and where their gradient is added up."""
        if self.rank.zero < 2:
            return w
        flats = [held.value.flat.buffer.index for held in self.packs]
        if w.value.flat.buffer.index not in flats:
            return w
        at = flats.index(w.value.flat.buffer.index)
        value = self._whole[at] if self._whole else w.value.flat
        return w.over(value, self._sum(at) if gradient else None)

    @property
    def _sizes(self) -> list[int]:
        return [elements(w.value.parts) for w in self.packs]

    # ---- weights -----------------------------------------------------------------------------

    def gather(self) -> None:
        """Have the weights come, unless they are there or on their way."""
        if self.rank.zero < 3 or self._arrived or self._whole or not self.packs:
            return
        common, axis = self.common, self.common.inside
        if self._kept:
            axis = self.rank.axis(common.options.inside, int(common.options.reshard))
        shards = self._kept or self._converted()
        with self.rank.at(layer=self.layer), self.rank.behind(common.begun):
            self._arrived = axis.all_gather(*shards, dim=0, lane="weights", label="weights")

    def _converted(self) -> tuple[Operand, ...]:
        """Return the rank's shards, in the type that is gathered."""
        shards = tuple(w.value.flat for w in self.packs)
        if self.common.gathered == self.rank.optimizer.weight:
            return shards
        outs = tuple(
            self.rank.buffer("shard", x.shape, self.common.gathered, "workspace") for x in shards
        )
        self.rank.compute(Convert(), shards, outs, "convert")
        return outs

    def begin(self) -> None:
        """Have the weights there: what is recorded next reads them."""
        self.gather()
        if not self._arrived:
            return
        common, rank = self.common, self.rank
        layouts, members = self._layouts, rank.members
        if self._kept:
            layouts, members = tuple(flat(n) for n in self._sizes), int(common.options.reshard)
        whole = tuple(
            rank.buffer(w.value.flat.buffer.name, (n,), common.gathered, "workspace")
            for w, n in zip(self.packs, self._sizes, strict=True)
        )
        rank.compute(CopyOut(layouts, members), self._arrived, whole, "copy_out")
        common.begun = rank.ledger.computed
        self._held = self._arrived if rank.phase == "forward" else ()
        self._whole, self._arrived, self._kept = whole, (), ()

    def leave(self) -> None:
        """Let the weights go behind forward, if they are to."""
        reshard, goes = self.common.options.reshard, self._held
        if self._whole and reshard is not False:
            self._kept = self._parts(reshard) if reshard is not True and self.rank.trains else ()
            goes, self._whole = (*goes, *self._whole), ()
        self._let_go(goes)
        self._held = ()

    def _let_go(self, operands: Sequence[Operand]) -> None:
        if operands:
            self.rank.compute(LetGo(), operands, (), "let_go")

    def _parts(self, count: int) -> tuple[Operand, ...]:
        """Record what each of so many neighbours keeps of the gathered weights."""
        rank, kind = self.rank, Keep(self.common.options.inside, count)
        outs = tuple(
            rank.buffer("kept", (part(n, count),), self.common.gathered, "workspace")
            for n in self._sizes
        )
        rank.compute(kind, self._whole, outs, "keep")
        return outs

    def finish(self) -> None:
        """Let the weights go behind backward; stages of a pipeline keep what stays at all."""
        stays = self.layer is None or self.common.options.reshard is False
        if not (self.common.piped and stays):
            self._let_go(self._whole)
            self._whole = ()

    # ---- gradients ---------------------------------------------------------------------------

    def _sum(self, at: int) -> Operand:
        if at not in self._sums:
            name = f"d{self.packs[at].value.flat.buffer.name}"
            slots = None if self.layer is None else self.common.slots(at)
            shape = (self._sizes[at],)
            self._sums[at] = self.rank.accumulator(name, shape, self.common.summed, slots)
        return self._sums[at]

    def reduce(self) -> None:
        """Add the rank's parts of the gradients, summed over the group, to the resident ones."""
        if not self._sums:
            return
        assert len(self._sums) == len(self.packs)
        sums, self._sums = [self._sums[at] for at in sorted(self._sums)], {}
        targets, common = [w.gradient.flat for w in self.packs], self.common
        into = self._fresh() if common.adds else targets
        with self.rank.at(layer=self.layer):
            sums = self._laid_out(sums)
            common.inside.reduce_to_shards(*sums, into=into, lane=_LANE, label=_LANE)
            if common.adds:
                assert common.outside is not None
                common.outside.all_reduce_into(*into, into=targets, lane=_LANE, label=_LANE)
            elif common.outside is not None:
                size = sum(round(common.reduced * target.elements) for target in targets)
                common.outside.all_reduce(*targets, lane=_LANE, label=_LANE, size=size)

    def _laid_out(self, sums: list[Operand]) -> list[Operand]:
        """Copy gradients to where members' shards follow each other, if they are cut by tensor."""
        rank = self.rank
        if rank.zero < 3:
            return sums
        sizes = [rank.members * shard_elements(layout, rank.members) for layout in self._layouts]
        inputs = self.common.inputs(sizes)
        rank.compute(CopyIn(self._layouts, rank.members), sums, inputs, "copy_in")
        return inputs

    def _fresh(self) -> list[Operand]:
        """Return where a block's own sums arrive, which go to the other blocks and to no more."""
        counts = [shard_elements(layout, self.rank.members) for layout in self._layouts]
        return [self.rank.accumulator("dshard", (n,), self.common.reduced) for n in counts]
