"""What a rank holds of some weights during the whole step: values, gradients, optimizer states.

Of what the members of its group share, it holds a part: a shard. With zero 3 the shards of
gradients come with their reductions, as torch's do, whose trainers drop them after a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tspsim.program.bindings import BindingRole
from tspsim.program.chunks import Chunk, Layout, flat, shard_elements
from tspsim.program.packed import Packed, Part, Weights, elements
from tspsim.program.recorder import view
from tspsim.program.types import Buffer, Operand
from tspsim.program.varying import product

if TYPE_CHECKING:
    from tspsim.program.holding import Holding
    from tspsim.program.replicas import Replication


def layout_of(zero: int, packed: Packed) -> Layout:
    """Return how the members of a rank's group cut a pack.

    Weights that are gathered (zero 3) are cut tensor by tensor, along the outputs of each, as
    torch's FSDP2 does; others as they lie.
    """
    if zero < 3:
        return flat(elements(packed.parts))
    return tuple(part.chunks for part in packed.parts)


def declare(rank: Holding, name: str, parts: Sequence[Part], replication: Replication) -> Weights:
    """Declare resident weights in one pack; when training, gradient and states too.

    Where members of the group share the optimizer's states, the values show what each has updated:
    by how far the weights moved, not by a gradient that is whole on no rank.
    """
    optimizer, count = rank.optimizer, elements(parts)
    zero, whole, held = rank.zero_of(replication), count, count
    if zero:
        cut = tuple(part.chunks for part in parts) if zero == 3 else flat(count)
        held = shard_elements(cut, rank.mesh.degree(replication.inside))
    itemsize = rank.kept_in(name)
    value = rank.resident(name, (held if zero == 3 else whole,), itemsize, "weight")
    packed = Packed(value, tuple(parts))
    places = [*_places(packed, replication, rank.mesh.degree(replication.inside), zero)]
    _bind(rank, places, "value")
    if not rank.trains:
        return Weights(packed)
    size = held if zero >= 2 else whole
    holds = rank.arriving if zero == 3 else rank.resident
    gradient = holds(f"d{name}", (size,), optimizer.gradient, "gradient")
    for state, size_of in optimizer.states:
        if size_of and not rank.replication.offload:
            rank.resident(f"{name}.{state}", (held,), size_of, "optimizer")
    weights = Weights(packed, packed.over(gradient))
    if zero:
        _bind(rank, places, "moved")
    else:
        _bind(rank, [*_places(weights.gradient, replication, 1, zero)], "gradient")
    return weights


def made_for(buffer: Buffer, name: str) -> bool:
    """Whether a buffer is one that `declare` makes for weights of a name."""
    own = buffer.name in (name, f"d{name}") or buffer.name.startswith(f"{name}.")
    return buffer.resident and own


#: A tensor of a pack, what is there of it, and which part of the model that is.
_Place = tuple[Part, Operand, Any]


def _bind(rank: Holding, places: Sequence[_Place], role: BindingRole) -> None:
    layer = "" if rank.layer is None else f"L{rank.layer}."
    for part, operand, place in places:
        rank.bind(operand, layer + part.tensor, place, role)


def _places(packed: Packed, replication: Replication, members: int, zero: int) -> Iterator[_Place]:
    """Yield every tensor of a pack: what is there of it, and which part of the model that is."""
    if zero < 3:
        yield from ((part, operand, part.shard) for part, operand in packed.views())
        return
    offset = 0
    for part in packed.parts:
        shape = part.chunks.chunk_shape(members)
        place = Chunk(part.shard, part.chunks.dim, replication.inside, members)
        yield part, view(packed.flat, offset, shape), place
        offset += product(shape)
