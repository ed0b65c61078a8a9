"""Devices and profiles: what hardware can do, as frozen values in SI units."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field, replace

from tspsim.files.errors import TopologyError
from tspsim.model import ITEMSIZE
from tspsim.program.types import CollectiveKind, Work
from tspsim.topology.evidence import Evidence
from tspsim.topology.tables import Table, kinds_of
from tspsim.topology.whole_steps import StepEvidence

#: Whose tables hold for another dtype: the same units multiply both, at the same rate.
_ALIKE = {"fp16": "bf16"}


@dataclass(frozen=True, slots=True)
class Curve:
    """Efficiency (achieved / peak) as a monotone function of the size of the work.

    Parameters
    ----------
    points : tuple of (float, float)
        ``(size, efficiency)`` with sizes increasing; size is flops for matmul and attention,
        bytes for element-wise work. Between points it is linear in log(size); outside, constant.
    """

    points: tuple[tuple[float, float], ...] = ((1.0, 1.0),)

    def at(self, size: float) -> float:
        """Return the efficiency at a size."""
        place = bisect.bisect_right(self.points, (size, math.inf))
        if place == 0 or place == len(self.points):
            return self.points[min(place, len(self.points) - 1)][1]
        (x0, y0), (x1, y1) = self.points[place - 1], self.points[place]
        return y0 + (y1 - y0) * (math.log(size / x0) / math.log(x1 / x0))


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way in which a communication library moves bytes, inside a node or between nodes.

    Libraries have several, cheap to start or fast once started (NCCL and RCCL: LL, LL128 and
    Simple), and use the one that is fastest for the size.

    Parameters
    ----------
    latency : float
        Seconds of a call, on top of the latency of the links.
    efficiency : float
        Achieved / stated bandwidth of a link, among so many members that one more hardly counts.
    collective : CollectiveKind or None
        The kind that it is for; None: every kind that no other protocol names.
    algorithm : str or None
        The algorithm that it is for; None: every one that no other protocol names.
    network : bool
        It is for what leaves a node, otherwise for what stays inside.
    first : float
        The smallest message in bytes that it is used for. Where one with an algorithm and a first
        message can be used, the library takes it, however fast the others are.
    fewest : int
        The fewest members that it is used for: the library does not choose its algorithm for less.
    per_member : float
        Seconds of a call for every member but one, on top of `latency`.
    own_part : float
        What a member's own part costs (it is copied, and opens the pipeline), over what the link
        takes for a part as stated: few members have large parts, and achieve less.
    last : float
        The largest message in bytes that it is used for.
    most : int
        The most members that it is used for; 0: any number.
    """

    latency: float = 0.0
    efficiency: float = 1.0
    collective: CollectiveKind | None = None
    algorithm: str | None = None
    network: bool = False
    first: float = 0.0
    fewest: int = 0
    per_member: float = 0.0
    own_part: float = 0.0
    last: float = math.inf
    most: int = 0

    def seconds(self, members: int) -> float:
        """Return the seconds of a call of so many members, two or more, beside its links'."""
        return self.latency + self.per_member * (members - 1)

    def achieved(self, members: int) -> float:
        """Return achieved / stated bandwidth of a link, for so many members."""
        return 1 / (1 / self.efficiency + self.own_part / (members - 1))


@dataclass(frozen=True, slots=True)
class Profile:
    """Constants that turn work into time, with their error and where they come from.

    Parameters
    ----------
    name : str
    curves : tuple of (str, Curve)
        Efficiency by `Work.curve`; a missing curve is 1.
    launch : float or None
        Seconds added to every compute op; None: the device's own figure holds.
    interference : float
        Fraction of its speed that compute keeps while a collective is active on its device.
    sustained : float
        Fraction of the rate of kernels timed alone that products keep in steps that run on for
        long, as power or heat slows the clocks.
    error : float or None
        Mean absolute relative error on runs that the profile was not fitted to; None: unknown.
    source : str
    protocols : tuple of Protocol
        How collectives and hops inside a node travel; the fastest for the size holds. None at
        all: as the links state. What goes over the network between nodes is as its links state.
    collectives : tuple of (str, str)
        Algorithm by kind of collective, where the library was seen to use it; others are chosen.
    tables : tuple of Table
        Efficiency over the shape of the work, in place of the curve of the same name.
    attention : tuple of (str, float)
        By flash kernel, its efficiency as a part of what table or curve say; 1 where none is given.
    steps : tuple of StepEvidence
        How far whole steps that it was not fitted to were off: `tspsim.topology.whole_steps`.
    evidence : tuple of Evidence
        How far collective calls that it was not fitted to were off: `tspsim.topology.evidence`.
    replayed : float
        Seconds of the smallest kernel, where kernels are replayed from a graph; 0: they are called.
    serving : bool
        Programs call the all-reduces of serving libraries, where `protocols` has some.
    """

    name: str
    curves: tuple[tuple[str, Curve], ...] = ()
    launch: float | None = None
    interference: float = 1.0
    error: float | None = None
    source: str = ""
    protocols: tuple[Protocol, ...] = ()
    collectives: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    sustained: float = 1.0
    steps: tuple[StepEvidence, ...] = ()
    attention: tuple[tuple[str, float], ...] = ()
    evidence: tuple[Evidence, ...] = ()
    replayed: float = 0.0
    serving: bool = False

    def protocols_of(
        self, collective: CollectiveKind, algorithm: str = "", network: bool = False
    ) -> tuple[Protocol, ...]:
        """Return the protocols of a call: those that name its kind and algorithm before all others.

        Parameters
        ----------
        collective : CollectiveKind
        algorithm : str
        network : bool
            It leaves the node.
        """
        here = [way for way in self.protocols if way.network == network]
        for kind in (collective, None):
            for name in (algorithm, None):
                if found := tuple(w for w in here if (w.collective, w.algorithm) == (kind, name)):
                    return found
        return ()


@dataclass(frozen=True, slots=True)
class Pace:
    """Fractions of what a device states that it reaches: below 1 where it is slow.

    Parameters
    ----------
    compute, memory, launch : float
        Of its compute rates, of its memory bandwidth, of the speed at which it launches ops.
    host : float
        Of the speed at which its host issues them.
    """

    compute: float = 1.0
    memory: float = 1.0
    launch: float = 1.0
    host: float = 1.0

    def times(self, share: float) -> Pace:
        """Return the pace of kernels that follow each other less closely; launches stay."""
        return replace(self, compute=share * self.compute, memory=share * self.memory)


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware that one rank runs on.

    Parameters
    ----------
    name : str
    flop_rate : tuple of (str, float)
        Peak dense flop/s by dtype.
    memory_bandwidth : float
        Bytes/s of device memory.
    memory : float
        Capacity in bytes.
    reserved : float
        Bytes that the runtime and its libraries keep for themselves.
    price : float or None
        Dollars per device hour.
    launch : float
        Seconds added to every compute op, where the profile states none.
    blas, communicator : float
        Bytes of the workspace of a BLAS handle, and of the buffers of a communicator.
    host_link, host_memory : float or None
        Bytes/s, one way, of the device's link to its host, and of its share of the host's memory;
        None: not stated.
    pace : Pace
        How much of all this it reaches. Its peak stays what it states: what a slow device falls
        short of it shows in MFU.
    """

    name: str
    flop_rate: tuple[tuple[str, float], ...]
    memory_bandwidth: float
    memory: float
    reserved: float = 0.0
    price: float | None = None
    launch: float = 0.0
    blas: float = 0.0
    communicator: float = 0.0
    host_link: float | None = None
    host_memory: float | None = None
    pace: Pace = Pace()

    def peak(self, dtype: str) -> float:
        """Return the peak flop/s for a dtype.

        Raises
        ------
        TopologyError
            When the device states no rate for it.
        """
        rates = dict(self.flop_rate)
        if dtype not in rates:
            raise TopologyError(
                f"device '{self.name}' states no peak rate for {dtype}; it has {', '.join(rates)}"
            )
        return rates[dtype]


@dataclass(frozen=True, slots=True)
class Roofline:
    """Turns a `Work` into seconds on one device with one profile.

    ``max(flops / (peak * efficiency), bytes / (memory bandwidth * efficiency)) + launches``:
    the roofline model (Williams, Waterman, Patterson 2009, doi:10.1145/1498765.1498785). Where the
    profile has a table for the work, one efficiency counts for both, as the whole kernel was
    measured. A grouped product that has neither table nor curve is as efficient as a product of as
    many rows with one matrix: all groups' tiles fill the device together. Attention against a cache
    that no table has is as efficient as attention, and its traffic as element-wise traffic.

    fp8 as Transformer Engine does it: activations, weights and gradients stay in the dtype of the
    workload, and so does the memory that they take. Each is cast once, into itself and its
    transpose, for the two products that use it; half of that is charged to each product, as
    element-wise traffic. The times of fp8 tables have the cast of the first operand in them.
    Weights that are kept in fp8 are cast no more.

    A curve of element-wise work has the calls from Python of its rows in it, which decide where
    arrays are small. Of kernels that are replayed from a graph it counts what the largest reach,
    and beside that the time of the smallest kernel.
    """

    device: Device
    profile: Profile
    dtype: str
    _curves: dict[str, Curve] = field(init=False, compare=False, repr=False)
    _tables: dict[tuple[str, str], Table] = field(init=False, compare=False, repr=False)
    _kernels: dict[str, float] = field(init=False, compare=False, repr=False)
    _launch: float = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        launch = self.device.launch if self.profile.launch is None else self.profile.launch
        launch /= self.device.pace.launch
        tables = {(str(table.kind), table.dtype): table for table in self.profile.tables}
        object.__setattr__(self, "_curves", dict(self.profile.curves))
        object.__setattr__(self, "_tables", tables)
        object.__setattr__(self, "_kernels", dict(self.profile.attention))
        object.__setattr__(self, "_launch", launch)

    @property
    def launch(self) -> float:
        """Seconds that every op takes beside its work."""
        return self._launch

    @property
    def _replayed(self) -> float:
        """Seconds of the smallest kernel; 0 where there is no curve that has calls in it."""
        return self.profile.replayed if "elementwise" in self._curves else 0.0

    def _efficiency(self, curve: str, size: float) -> float:
        found = self._curves.get(curve)
        return found.at(size) if found else 1.0

    def seconds(self, work: Work) -> float:
        """Return the time of a piece of work; no work at all takes no time."""
        fixed = work.seconds / self.device.pace.host
        if not work.flops and not work.bytes:
            return fixed
        cast, dtype = 0.0, work.dtype or self.dtype
        like = self._like(work, self._rated(work))
        table = self._table(like, self._rated(work))
        measured = table.of(like) if table else None
        if dtype != self.dtype:
            work, cast = self._narrowed(work, dtype, measured is not None)
        flops = 0.0
        if work.flops:
            rate = self.device.peak(dtype)
            rate *= measured or self._efficiency(like.curve, work.flops)
            rate *= self.profile.sustained * self._kernels.get(work.kernel, 1.0)
            flops = work.flops / (rate * self.device.pace.compute)
        if passes := self._passes(work):
            return work.bytes / passes + fixed
        moving = self._moving(work.bytes, measured)
        return max(flops, moving) + cast + self._launching(work, measured) + fixed

    def launching(self, work: Work) -> float:
        """Return what of the time of a piece of work its launches are, and its kernels' starts."""
        if self._passes(work):
            return 0.0
        like = self._like(work, self._rated(work))
        table = self._table(like, self._rated(work))
        return self._launching(work, table.of(like) if table else None)

    def _passes(self, work: Work) -> float | None:
        """Return the bytes/s of work on the host, or on the way there."""
        host = {"host_link": self.device.host_link, "host_memory": self.device.host_memory}
        return host.get(work.curve)

    def _rated(self, work: Work) -> str:
        """Return the dtype in whose tables a piece of work is looked up."""
        dtype = work.dtype or self.dtype
        return _ALIKE.get(dtype, dtype)

    def _launching(self, work: Work, measured: float | None) -> float:
        # What was measured holds the start of its kernel.
        return work.launches * (self._launch + (self._replayed if measured is None else 0.0))

    def _like(self, work: Work, dtype: str) -> Work:
        """Return the work whose efficiency counts."""
        if work.curve == "cached_attention" and self._table(work, dtype) is None:
            return work._replace(curve="attention", shape=())
        own = ("grouped", dtype) in self._tables or "grouped" in self._curves
        if work.curve != "grouped" or own:
            return work
        rows, _, k, n = work.shape[:4]
        return work._replace(curve="matmul", shape=(rows, k, n))

    def _table(self, work: Work, dtype: str) -> Table | None:
        """Return the table of a piece of work: of its special kind, if there is one."""
        if not (work.flops and work.shape):
            return None
        found = (self._tables.get((kind, dtype)) for kind in kinds_of(work))
        return next((table for table in found if table), None)

    def _moving(self, bytes_: float, measured: float | None = None) -> float:
        """Return the seconds of traffic: element-wise, or with the efficiency of its kernel."""
        if not bytes_:
            return 0.0
        large = math.inf if self._replayed else bytes_
        efficiency = measured or self._efficiency("elementwise", large)
        rate = self.device.memory_bandwidth * efficiency
        return bytes_ / (rate * self.device.pace.memory)

    def _narrowed(self, work: Work, dtype: str, measured: bool) -> tuple[Work, float]:
        """Return a product of narrower operands, and the seconds of casting them."""
        rows, *groups, k, n = work.shape[:4] if work.curve == "grouped" else work.shape
        weights = math.prod(groups) * k * n - work.narrow
        wide, narrow = ITEMSIZE[self.dtype], ITEMSIZE[dtype]
        left = max(0, work.bytes - (rows * k + weights) * (wide - narrow))
        cast = weights if measured else rows * k + weights
        return work._replace(bytes=left), self._moving(cast * (wide + 2 * narrow) / 2)
