"""Devices, efficiency curves and the roofline."""

import math

import pytest

from tspsim.files.errors import TopologyError
from tspsim.program.types import NO_WORK, Work
from tspsim.topology.hardware import Curve, Device, Profile, Roofline

DEVICE = Device("x", (("bf16", 100e12),), memory_bandwidth=1e12, memory=80e9)


def test_peak_of_an_unknown_dtype_names_the_known_ones() -> None:
    """A dtype without a stated rate is the user's mistake, not a KeyError."""
    with pytest.raises(TopologyError, match=r"'x' states no peak rate for fp8; it has bf16"):
        DEVICE.peak("fp8")


def test_curve_is_linear_in_the_logarithm_and_flat_outside() -> None:
    """Halfway between 1e6 and 1e10 is 1e8, in logarithms."""
    curve = Curve(((1e6, 0.2), (1e10, 0.8)))
    assert curve.at(1.0) == 0.2
    assert curve.at(1e6) == 0.2
    assert curve.at(1e8) == pytest.approx(0.5)
    assert curve.at(1e10) == 0.8
    assert curve.at(1e15) == 0.8


def test_roofline_takes_the_slower_of_compute_and_memory() -> None:
    """The same work is bound by one or the other."""
    roofline = Roofline(DEVICE, Profile("p"), "bf16")
    assert roofline.seconds(Work(10**14, 10**9, "matmul")) == pytest.approx(1.0)
    assert roofline.seconds(Work(10**9, 10**12, "matmul")) == pytest.approx(1.0)


def test_efficiency_slows_and_launch_adds() -> None:
    """Half the efficiency is twice the time; no work is no launch."""
    profile = Profile("p", (("matmul", Curve(((1.0, 0.5),))),), launch=1e-3)
    roofline = Roofline(DEVICE, profile, "bf16")
    assert roofline.seconds(Work(10**14, 0, "matmul")) == pytest.approx(2.001)
    assert roofline.seconds(Work(10**14, 0, "attention")) == pytest.approx(1.001)
    assert roofline.seconds(NO_WORK) == 0.0


@pytest.mark.parametrize(("stated", "used"), [(None, 5e-6), (0.0, 0.0), (2e-6, 2e-6)])
def test_launch_of_the_device_holds_where_the_profile_states_none(
    stated: float | None, used: float
) -> None:
    """A profile's launch replaces the device's, zero included."""
    device = Device("y", DEVICE.flop_rate, 1e12, 80e9, launch=5e-6)
    seconds = Roofline(device, Profile("p", launch=stated), "bf16").seconds(Work(0, 1, "matmul"))
    assert math.isclose(seconds, used + 1e-12)
