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
from tspsim.program.kinds.shards import CopyIn, CopyOut, Keep, LetGo, OwnParts
from tspsim.program.ledger import Slots
from tspsim.program.packed import Weights, elements
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.replicas import REDUCE_ITEMSIZE, Replication
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
    replication : Replication
        Of the weights in them.
    """

    def __init__(self, rank: Rank, replication: Replication) -> None:
        self.rank, self.options, optimizer = rank, replication, rank.optimizer
        self.inside = rank.axis(self.options.inside)
        self.zero, self.members = rank.zero_of(replication), self.inside.degree
        self.outside = rank.axis(self.options.outside) if self.options.outside else None
        #: Gradients are reduced behind every micro-batch.
        self.syncs = self.zero >= 2 and self.options.sync == "every"
        alone = rank.workload.micro_batches == 1
        #: What blocks sum among them is added to what they have summed before.
        self.adds = self.outside is not None and self.syncs and not alone
        #: Several micro-batches are between forward and backward.
        self.piped = rank.stages.order.ranks > 1 or bool(rank.stages.order.overlapped)
        #: Bytes of an element: of gathered weights, of gradients that travel, and before they do.
        self.gathered = min(optimizer.weight, rank.workload.itemsize)
        self.reduced = REDUCE_ITEMSIZE.get(self.options.reduce or "", optimizer.gradient)
        added = self.zero == 3 and (alone or not self.piped)
        self.summed = self.gathered if added else self.reduced
        #: A micro-batch's gradients are added to those before it in the type that travels.
        self.apart = added and not (self.syncs or alone) and self.summed != self.reduced
        #: The compute op with which the group came that was begun with last.
        self.begun = -1
        #: What the last gather of forward has brought: held until the next group is copied out.
        self.copied: tuple[Operand, ...] = ()
        self._slots: dict[int, Slots] = defaultdict(lambda: rank.slots(GRADIENTS))
        self._inputs: tuple[int, list[Operand]] = (-1, [])

    def let_go(self, operands: Sequence[Operand]) -> None:
        """Hold operands until here, and no longer."""
        if operands:
            self.rank.compute(LetGo(), operands, (), "let_go")

    def forget(self) -> None:
        """Let go what forward's last gather has brought: its copies are there."""
        self.let_go(self.copied)
        self.copied = ()

    def slots(self, position: int) -> Slots | None:
        """Return where gradients of the weights at a position of a layer are added up."""
        return self._slots[position] if self.syncs and self.zero == 2 else None

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
        self._layouts = tuple(layout_of(groups.zero, w.value) for w in packs)
        self._arrived: tuple[Operand, ...] = ()  # gathered, and not copied out
        self._whole: tuple[Operand, ...] = ()  # as compute reads them
        self._kept: tuple[Operand, ...] = ()  # parts that neighbours keep from forward on
        self._sums: dict[int, Operand] = {}  # gradients, by position
        self._waiting: dict[int, Operand] = {}  # those that wait for the last micro-batch

    def now(self, w: Weights) -> Weights:
        """Return weights of the group as ops read them."""
        return w if self.common.zero < 2 else w.over(self._read(w), None)

    def adding(self, w: Weights) -> Weights:
        """Return weights as ops read them, and where a micro-batch's gradient is added up."""
        return w if self.common.zero < 2 else w.over(self._read(w), self._sum(self._place(w)))

    def total(self, w: Weights) -> Weights:
        """Return weights, and the gradient of all micro-batches so far."""
        if self.common.zero < 2:
            return w
        at = self._place(w)
        return w.over(w.value.flat, self._waiting.get(at) or self._sum(at))

    def holds(self, w: Weights) -> bool:
        """Whether weights are the group's."""
        return any(held.value.flat.buffer is w.value.flat.buffer for held in self.packs)

    def _place(self, w: Weights) -> int:
        return [held.value.flat.buffer for held in self.packs].index(w.value.flat.buffer)

    def _read(self, w: Weights) -> Operand:
        return self._whole[self._place(w)] if self._whole else w.value.flat

    @property
    def _sizes(self) -> list[int]:
        return [elements(w.value.parts) for w in self.packs]

    @property
    def _padded(self) -> list[int]:
        """Elements of a message of every pack, its tensors' padding included."""
        members = self.common.members
        return [members * shard_elements(layout, members) for layout in self._layouts]

    # ---- weights -----------------------------------------------------------------------------

    def gather(self) -> None:
        """Have the weights come, unless they are there or on their way."""
        if self.common.zero < 3 or self._arrived or self._whole or not self.packs:
            return
        common, axis = self.common, self.common.inside
        if self._kept:
            axis = self.rank.axis(common.options.inside, int(common.options.reshard))
        shards = self._kept or tuple(w.value.flat for w in self.packs)
        converted = not self._kept and common.gathered != self.rank.optimizer.weight
        into = self._converted(shards) if converted else ()
        with self.rank.at(layer=self.layer), self.rank.behind(common.begun):
            if converted:
                self._arrived = axis.all_gather_in_place(*into, lane="weights", label="weights")
            else:
                self._arrived = axis.all_gather(*shards, dim=0, lane="weights", label="weights")

    def _converted(self, shards: Sequence[Operand]) -> tuple[Operand, ...]:
        """Return where shards are gathered, the rank's own there in the type that is gathered."""
        members, itemsize = self.common.members, self.common.gathered
        outs = tuple(
            self.rank.buffer("gathered", (members * x.elements,), itemsize, "workspace")
            for x in shards
        )
        kind = OwnParts(self.common.options.inside, members)
        self.rank.compute(kind, shards, outs, "convert")
        return outs

    def begin(self) -> None:
        """Have the weights there: what is recorded next reads them."""
        self.gather()
        if not self._arrived:
            return
        common, rank = self.common, self.rank
        layouts, members = self._layouts, common.members
        if self._kept:
            layouts, members = tuple(flat(n) for n in self._sizes), int(common.options.reshard)
        whole = self._allocated()
        common.forget()
        rank.compute(CopyOut(layouts, members), self._arrived, whole, "copy_out")
        common.begun = rank.ledger.computed
        common.copied = self._arrived if rank.phase == "forward" else ()
        common.let_go(self._kept)
        self._whole, self._arrived, self._kept = whole, (), ()

    def _allocated(self) -> tuple[Operand, ...]:
        """Return where weights are copied out to; they keep their padding, which nothing reads."""
        itemsize = self.common.gathered
        names = [w.value.flat.buffer.name for w in self.packs]
        return tuple(
            view(self.rank.buffer(name, (padded,), itemsize, "workspace"), 0, (n,))
            for name, padded, n in zip(names, self._padded, self._sizes, strict=True)
        )

    def leave(self) -> None:
        """Let the weights go behind forward, if they are to."""
        reshard = self.common.options.reshard
        if self._whole and reshard is not False:
            self._kept = self._parts(reshard) if reshard is not True and self.rank.trains else ()
            self._release()

    def _release(self) -> None:
        self.common.let_go(self._whole)
        self._whole = ()

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
            self._release()

    # ---- gradients ---------------------------------------------------------------------------

    def _sum(self, at: int) -> Operand:
        if at not in self._sums:
            name = f"d{self.packs[at].value.flat.buffer.name}"
            slots = None if self.layer is None else self.common.slots(at)
            shape = (self._sizes[at],)
            self._sums[at] = self.rank.accumulator(name, shape, self.common.summed, slots)
        return self._sums[at]

    def add_up(self) -> None:
        """Add a micro-batch's gradients to those before it, where they have another type."""
        if not self.common.apart:
            return
        for at, fresh in sorted(self._sums.items()):
            if at in self._waiting:
                self.rank.add(fresh, to=self._waiting[at], label="add_up")
                continue
            kept = self.rank.buffer("added", fresh.shape, self.common.reduced, "workspace")
            self.rank.compute(Convert(), (fresh,), (kept,), "add_up")
            self._waiting[at] = kept
        self._sums = {}

    def reduce(self) -> None:
        """Add the rank's parts of the gradients, summed over the group, to its shards."""
        found = self._waiting or self._sums
        if not found:
            return
        assert len(found) == len(self.packs)
        sums, self._sums, self._waiting = [found[at] for at in sorted(found)], {}, {}
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
        common = self.common
        if common.zero < 3:
            return sums
        inputs = common.inputs(self._padded)
        self.rank.compute(CopyIn(self._layouts, common.members), sums, inputs, "copy_in")
        return inputs

    def _fresh(self) -> list[Operand]:
        """Return where a block's own sums arrive, which go to the other blocks and to no more."""
        counts = [shard_elements(layout, self.common.members) for layout in self._layouts]
        return [self.rank.accumulator("dshard", (n,), self.common.reduced) for n in counts]
