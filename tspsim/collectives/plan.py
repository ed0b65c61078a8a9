"""What a collective algorithm says about one call: which links carry how much, and the latency."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Profile


@dataclass(frozen=True, slots=True)
class Plan:
    """The link loads and latency of one algorithm for one communicator and kind.

    The time of a message of M bytes where nothing else uses the links is::

        latency + (pipeline fill) + T,   T = M * max(load / bandwidth)

    with loads in bytes on a link per byte of message, and T longer by 1 / `efficiency`. A
    pipelined algorithm cuts the message into k parts that follow each other through
    ``stages + 1`` steps; each step of a part takes ``step_latency + T / k``, so the last part
    arrives after ``(k + stages)`` of them. With the best k that is
    ``stages * step_latency + 2 * sqrt(stages * step_latency * T) + T``; a message so short that
    the best k would be less than one goes in one part.

    Parameters
    ----------
    algorithm : str
    loads : tuple of (int, float)
        ``(link index, bytes per byte of message)``, sorted by link.
    latency : float
        Seconds that pass whatever the size: the sum over the steps of their route latency, and
        that of the protocol.
    stages : float
        Further pipeline stages behind the first, of the slowest link's time each; 0 where nothing
        is pipelined.
    step_latency : float
        Latency of one pipeline stage.
    efficiency : float
        Part of the links' bandwidth that the protocol achieves where nothing else uses them. It
        holds them for all of that time: what shares a link with it gets no more.
    held : float
        Part of its links that it holds meanwhile, where what slows it down is not on the links.
    first : float
        The smallest message that its protocol is for; from there on it is taken before others.
    last : float
        The largest message that its protocol is for.
    fewest, most : int
        The fewest and the most members that the library takes it for; 0: any number.
    fitted : bool
        A protocol of the profile is in it; otherwise its links are taken as they are stated.
    of_call : float
        Seconds of `latency` that are the protocol's.
    """

    algorithm: str
    loads: tuple[tuple[int, float], ...]
    latency: float
    stages: float = 0
    step_latency: float = 0.0
    efficiency: float = 1.0
    held: float = 1.0
    first: float = 0.0
    last: float = math.inf
    fewest: int = 0
    most: int = 0
    fitted: bool = False
    of_call: float = 0.0

    def slowest(self, topology: Topology) -> float:
        """Return the seconds per byte of message on the most loaded link."""
        stated = max((load / topology.links[i].bandwidth for i, load in self.loads), default=0.0)
        return stated / self.efficiency

    def under(
        self, profile: Profile, kind: CollectiveKind, topology: Topology, members: int
    ) -> tuple[Plan, ...]:
        """Return this plan once per protocol of the profile that is for it; as it is without any.

        Parameters
        ----------
        profile : Profile
        kind : CollectiveKind
        topology : Topology
        members : int
            How many take part; 2 of a hop.
        """
        if not self.loads:
            return (self,)
        outside = any(topology.links[link].network for link, _ in self.loads)
        protocols = profile.protocols_of(kind, self.algorithm, outside)
        return tuple(
            replace(
                self,
                latency=self.latency + way.seconds(members),
                efficiency=self.efficiency * way.achieved(members),
                first=way.first,
                last=way.last,
                fewest=way.fewest,
                most=way.most,
                fitted=True,
                of_call=way.seconds(members),
            )
            for way in protocols
        ) or (self,)

    def overhead(self, size: float, topology: Topology) -> float:
        """Return the seconds beside the transfer itself: latency and pipeline fill."""
        transfer = size * self.slowest(topology)
        return self.latency + self._fill(transfer)

    def _fill(self, transfer: float) -> float:
        """Return what filling the pipeline costs beyond `latency`, with the best parts."""
        if self.stages * transfer <= self.step_latency:  # one part: it stops over at every stage
            return self.stages * transfer
        # latency already counts step_latency once for every step, the best k parts need one less
        return 2 * math.sqrt(self.stages * self.step_latency * transfer) - self.step_latency

    def time(self, size: float, topology: Topology) -> float:
        """Return the uncontended time of a message of `size` bytes."""
        transfer = size * self.slowest(topology)
        return self.latency + self._fill(transfer) + transfer
