"""What does not go to plan, as frozen values: slow devices, changed links, jitter, failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tspsim.files.numbers import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SlowDevice:
    """A device that does not reach what it states.

    Parameters
    ----------
    device : int
    compute, memory, launch : float
        Fraction of its compute rates, of its memory bandwidth, and of the speed at which it
        launches ops; each above 0 and at most 1.
    """

    device: int
    compute: float = 1.0
    memory: float = 1.0
    launch: float = 1.0

    def text(self) -> str:
        """Return for example ``"device 3 at 0.8 of its speed"``."""
        if self.compute == self.memory == self.launch:
            return f"device {self.device} at {plain(self.compute)} of its speed"
        parts = (("compute rates", self.compute), ("memory bandwidth", self.memory))
        slow = " and ".join(f"{plain(part)} of its {what}" for what, part in parts if part < 1)
        return f"device {self.device} at {slow or '1 of its speed'}"


@dataclass(frozen=True, slots=True)
class ChangedLink:
    """A connection that is slower than stated, or gone.

    Parameters
    ----------
    source, target : str
        Its two ends, as `tspsim.topology.graph.Link` names them.
    speed : float
        Fraction of its bandwidth.
    bandwidth : float or None
        Bytes/s in place of its bandwidth; None: `speed` holds.
    latency : float or None
        Seconds in place of its latency; None: unchanged.
    lost : bool
        It carries nothing any more.
    one_way : bool
        Only the direction from source to target.
    """

    source: str
    target: str
    speed: float = 1.0
    bandwidth: float | None = None
    latency: float | None = None
    lost: bool = False
    one_way: bool = False

    @property
    def name(self) -> str:
        """``"d0–d1"``, or ``"d0→d1"`` where only that direction is meant."""
        return f"{self.source}{'→' if self.one_way else '–'}{self.target}"

    def text(self) -> str:
        """Return for example ``"link d0–d1 at 0.5 of its bandwidth"``."""
        if self.lost:
            return f"link {self.name} lost"
        changes = []
        if self.bandwidth is not None:
            changes.append(f"{plain(self.bandwidth / 1e9)} GB/s")
        elif self.speed < 1:
            changes.append(f"{plain(self.speed)} of its bandwidth")
        if self.latency is not None:
            changes.append(f"a latency of {plain(self.latency * 1e6)} us")
        return f"link {self.name} at {' and '.join(changes)}"


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Factors ``exp(sigma z - sigma**2 / 2)`` with a standard normal z: their mean is 1."""

    sigma: float

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return as many factors."""
        return generator.lognormal(-(self.sigma**2) / 2, self.sigma, count)

    def text(self) -> str:
        """Return for example ``"lognormal, sigma 0.02"``."""
        return f"lognormal, sigma {plain(self.sigma)}"


@dataclass(frozen=True, slots=True)
class Exponential:
    """Factors 1 + an exponential of the given mean: things only ever take longer."""

    mean: float

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return as many factors."""
        return 1 + generator.exponential(self.mean, count)

    def text(self) -> str:
        """Return for example ``"exponential, mean 0.02"``."""
        return f"exponential, mean {plain(self.mean)}"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Factors anywhere between two bounds alike."""

    low: float
    high: float

    def draw(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return as many factors."""
        return generator.uniform(self.low, self.high, count)

    def text(self) -> str:
        """Return for example ``"uniform, 1 to 1.1"``."""
        return f"uniform, {plain(self.low)} to {plain(self.high)}"


#: How the factor by which a duration is multiplied is drawn.
Distribution: TypeAlias = Lognormal | Exponential | Uniform


@dataclass(frozen=True, slots=True)
class Jitter:
    """Durations that differ from task to task by chance.

    Parameters
    ----------
    seed : int
        The same seed gives the same factors, whatever happens when.
    compute : Distribution or None
        Of every compute task.
    links : Distribution or None
        Of every collective call, and of every hop of a shift.
    """

    seed: int
    compute: Distribution | None = None
    links: Distribution | None = None

    def texts(self) -> Iterator[str]:
        """Yield what is drawn."""
        for what, how in (("compute", self.compute), ("links", self.links)):
            if how is not None:
                yield f"jitter of {what} ({how.text()})"


@dataclass(frozen=True, slots=True)
class Failure:
    """A device that fails at a stated time of the job (s)."""

    device: int
    at: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often devices fail, and what a job does about it; seconds and bytes.

    Parameters
    ----------
    horizon : float
        How long the job runs.
    restart : float
        From a failure until the job computes again.
    mtbf : float or None
        Mean time between failures of one device; None: only stated failures happen.
    interval : float or None
        Useful work between two checkpoints; None: the best one (Daly).
    checkpoint : float or None
        Time of a checkpoint; None: follows from bytes and bandwidth.
    bandwidth : float
        Bytes/s that one rank writes to the storage.
    bytes : float or None
        What one rank writes; None: its resident weights and optimizer states.
    """

    horizon: float
    restart: float
    mtbf: float | None = None
    interval: float | None = None
    checkpoint: float | None = None
    bandwidth: float = 0.0
    bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Disturbances:
    """Everything that does not go to plan; nothing of it by default.

    Parameters
    ----------
    slow_devices : tuple of SlowDevice
    links : tuple of ChangedLink
    jitter : Jitter or None
    failures : tuple of Failure
        In order of their time.
    reliability : Reliability or None
    seed : int
    """

    slow_devices: tuple[SlowDevice, ...] = ()
    links: tuple[ChangedLink, ...] = ()
    jitter: Jitter | None = None
    failures: tuple[Failure, ...] = ()
    reliability: Reliability | None = None
    seed: int = 0

    def text(self) -> str:
        """Return what disturbs a step, in one line; empty where nothing does."""
        parts = [device.text() for device in self.slow_devices]
        parts += [link.text() for link in self.links]
        if self.jitter:
            parts += [*self.jitter.texts(), f"seed {self.seed}"]
        return ", ".join(parts)
