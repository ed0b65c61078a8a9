"""Numbers by which the traces of ranks speak of the same communicator, or the same message."""

from __future__ import annotations


class Groups:
    """The communicators of all ranks, numbered from 1 in the order in which they are met.

    Every lane has communicators of its own, as it has in ``torch.distributed``: on two of the same
    ranks the order of calls differs from rank to rank, and a call is found by its place in a group.
    In ASTRA-sim 0 is the group of everybody.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}

    def name(self, lane: str, ranks: tuple[int, ...]) -> str:
        """Return the name of a communicator: its number."""
        return str(self._known.setdefault((lane, ranks), len(self._known) + 1))

    def members(self) -> dict[str, list[int]]:
        """Return the ranks of every group by its name: what ASTRA-sim reads beside the traces."""
        return {str(number): list(ranks) for (_, ranks), number in self._known.items()}


class Tags:
    """The messages from rank to rank: both ends of one have the same tag, and no others there."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], dict[tuple[str, int], int]] = {}

    def of(self, sender: int, receiver: int, channel: str, ordinal: int) -> int:
        """Return the tag of the message that is so many-th on a channel between two ranks."""
        known = self._known.setdefault((sender, receiver), {})
        return known.setdefault((channel, ordinal), len(known))
