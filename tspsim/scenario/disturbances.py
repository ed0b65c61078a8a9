"""The keys of ``disturbances:``, and what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tspsim.files.units import LEAST_SHARE, Bytes, BytesPerSecond, Physical, Seconds
from tspsim.scenario.section import Section
from tspsim.topology.disturbances import (
    ChangedLink,
    Distribution,
    Disturbances,
    Exponential,
    Failure,
    Jitter,
    Lognormal,
    Reliability,
    SlowDevice,
    Uniform,
)  # fmt: skip

Index = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=LEAST_SHARE, le=1)]
SomeSeconds = Annotated[float, Field(gt=0), Physical("s")]

#: The parameters of every kind of distribution.
_PARAMETERS = {"lognormal": ("sigma",), "exponential": ("mean",), "uniform": ("low", "high")}


class SlowDeviceKeys(Section):
    """``disturbances.slow_devices:`` — a device that computes more slowly than it states."""

    device: Index = Field(description="its number: rank i runs on device i")
    speed: Fraction | None = Field(
        None, description="fraction of its speed in all that it computes (0.8: 1.25 x the time)"
    )
    compute: Fraction | None = Field(None, description="fraction of its compute rates alone")
    memory: Fraction | None = Field(None, description="fraction of its memory bandwidth alone")

    @model_validator(mode="after")
    def _says_how_slow(self) -> SlowDeviceKeys:
        parts = self.compute is not None or self.memory is not None
        if (self.speed is not None) == parts:
            raise ValueError("must have 'speed' alone, or 'compute', 'memory' or both")
        return self

    def value(self) -> SlowDevice:
        """Return the device."""
        if self.speed is not None:
            return SlowDevice(self.device, self.speed, self.speed, self.speed)
        return SlowDevice(self.device, self.compute or 1.0, self.memory or 1.0)


class ChangedLinkKeys(Section):
    """``disturbances.links:`` — a connection that is slower than stated, or lost."""

    link: Annotated[list[int | str], Field(min_length=2, max_length=2)] = Field(
        description="its two ends: numbers of devices, names of switches and NICs"
    )
    speed: Fraction | None = Field(None, description="fraction of its bandwidth")
    bandwidth: BytesPerSecond | None = Field(None, description="in place of its bandwidth")
    latency: Seconds | None = Field(None, description="in place of its latency")
    lost: bool = Field(False, description="it carries nothing: routes go another way")
    one_way: bool = Field(False, description="only from the first end to the second")

    @model_validator(mode="after")
    def _says_what_changes(self) -> ChangedLinkKeys:
        slower = [key for key in ("speed", "bandwidth") if getattr(self, key) is not None]
        if len(slower) == 2:
            raise ValueError("has both 'speed' and 'bandwidth'; must have one of them")
        changes = [*slower, *(["latency"] if self.latency is not None else [])]
        if self.lost and changes:
            raise ValueError(f"is lost and has a '{changes[0]}'; must have one of them")
        if not self.lost and not changes:
            raise ValueError("must have 'speed', 'bandwidth', 'latency' or 'lost: true'")
        return self

    def value(self) -> ChangedLink:
        """Return the change."""
        source, target = (f"d{end}" if isinstance(end, int) else end for end in self.link)
        speed = 1.0 if self.speed is None else self.speed
        return ChangedLink(
            source, target, speed, self.bandwidth, self.latency, self.lost, self.one_way
        )


class DistributionKeys(Section):
    """How the factor by which a duration is multiplied is drawn."""

    kind: Literal["lognormal", "exponential", "uniform"] = Field(
        description="lognormal: mean 1; exponential: 1 and more; uniform: between two bounds"
    )
    sigma: float | None = Field(
        None, ge=0, le=1, description="lognormal: standard deviation of the factor's logarithm"
    )
    mean: float | None = Field(None, ge=0, le=100, description="exponential: mean of what is added")
    low: float | None = Field(None, gt=0, le=100, description="uniform: least factor")
    high: float | None = Field(None, gt=0, le=100, description="uniform: greatest factor")

    @model_validator(mode="after")
    def _parameters_are_those_of_the_kind(self) -> DistributionKeys:
        given = self.model_fields_set - {"kind"}
        wanted = _PARAMETERS[self.kind]
        if given != set(wanted):
            found = ", ".join(sorted(given)) or "nothing more"
            raise ValueError(f"{self.kind} has {' and '.join(wanted)}; found {found}")
        if self.kind == "uniform" and self._bounds[0] > self._bounds[1]:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.low or 0.0, self.high or 0.0

    def value(self) -> Distribution:
        """Return the distribution."""
        if self.kind == "lognormal":
            return Lognormal(self.sigma or 0.0)
        return (
            Exponential(self.mean or 0.0) if self.kind == "exponential" else Uniform(*self._bounds)
        )


class JitterKeys(Section):
    """``disturbances.jitter:`` — durations that differ from task to task by chance."""

    compute: DistributionKeys | None = Field(None, description="of every compute task of a rank")
    links: DistributionKeys | None = Field(
        None, description="of every collective call, and of every hop of a shift"
    )

    @model_validator(mode="after")
    def _something_is_drawn(self) -> JitterKeys:
        if self.compute is None and self.links is None:
            raise ValueError("must have 'compute', 'links' or both")
        return self


class FailureKeys(Section):
    """``disturbances.failures:`` — a device that fails at a stated time of the job."""

    device: Index = Field(description="its number")
    at: Seconds = Field(description="time from the start of the job")

    def value(self) -> Failure:
        """Return the failure."""
        return Failure(self.device, self.at)


class CheckpointKeys(Section):
    """``disturbances.reliability.checkpoint:`` — what one costs, and how often it is written."""

    interval: SomeSeconds | None = Field(
        None, description="useful work between two of them (default: the best by Daly's formula)"
    )
    time: Seconds | None = Field(None, description="for which the job stands still")
    bandwidth: BytesPerSecond | None = Field(
        None, description="of one rank to the storage, in place of 'time'"
    )
    bytes: Bytes | None = Field(
        None, description="that one rank writes (default: its weights and optimizer states)"
    )

    @model_validator(mode="after")
    def _says_what_it_costs(self) -> CheckpointKeys:
        if (self.time is None) == (self.bandwidth is None):
            raise ValueError("must have either 'time' or 'bandwidth'")
        if self.time is not None and self.bytes is not None:
            raise ValueError("has both 'time' and 'bytes'; bytes go with 'bandwidth'")
        return self


class ReliabilityKeys(Section):
    """``disturbances.reliability:`` — how often devices fail, and what the job does about it."""

    mtbf: SomeSeconds | None = Field(
        None, description="mean time between failures of one device (none: only 'failures')"
    )
    horizon: SomeSeconds = Field(description="how long the job runs")
    restart: Seconds = Field(description="from a failure until the job computes again")
    checkpoint: CheckpointKeys = Field(description="what a checkpoint costs, and how often it is")

    def value(self) -> Reliability:
        """Return the same with its defaults."""
        kept = self.checkpoint
        return Reliability(
            self.horizon, self.restart, self.mtbf, kept.interval, kept.time,
            kept.bandwidth or 0.0, kept.bytes,
        )  # fmt: skip


class DisturbancesKeys(Section):
    """``disturbances:`` — what does not go to plan."""

    seed: Index = Field(0, description="of all that is drawn by chance")
    slow_devices: list[SlowDeviceKeys] = Field([], description="devices that compute slowly")
    links: list[ChangedLinkKeys] = Field([], description="links that are slow or lost")
    jitter: JitterKeys | None = Field(None, description="durations that differ by chance")
    failures: list[FailureKeys] = Field([], description="devices that fail at a stated time")
    reliability: ReliabilityKeys | None = Field(
        None, description="failures by chance, checkpoints and restarts: for 'tspsim goodput'"
    )

    def value(self) -> Disturbances:
        """Return the disturbances; failures in order of their time."""
        drawn = self.jitter
        compute = drawn.compute.value() if drawn and drawn.compute else None
        links = drawn.links.value() if drawn and drawn.links else None
        failures = sorted((keys.value() for keys in self.failures), key=lambda f: (f.at, f.device))
        return Disturbances(
            tuple(keys.value() for keys in self.slow_devices),
            tuple(keys.value() for keys in self.links),
            Jitter(self.seed, compute, links) if drawn else None,
            tuple(failures),
            self.reliability.value() if self.reliability else None,
            self.seed,
        )
