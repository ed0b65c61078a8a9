"""All-reduces of serving libraries: when they are taken, and how long they take."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from statistics import fmean

import pytest

import tspsim
from tspsim.collectives.choose import Chooser
from tspsim.files.errors import ScenarioError
from tspsim.files.shipped import shipped
from tspsim.kernels import Kernels
from tspsim.scenario import from_document
from tspsim.topology.forms import ProtocolForm
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol
from tspsim.topology.load import load_file

KIB, MIB = 2**10, 2**20
LAYER = {
    "model": {"hidden": 8192, "layers": 1, "heads": 64, "kv_heads": 8, "ffn": 28672, "vocab": 1024},
    "workload": {"sequence": 8, "batch": 1, "phase": "forward"},
    "topology": {"file": "h100-node"},
    "strategy": {"kind": "tp", "degree": 8},
}


@cache
def node(name: str) -> Topology:
    """Return a shipped topology."""
    return load_file(name)


@cache
def serving(name: str) -> Topology:
    """Return a shipped topology whose programs call the all-reduces of serving libraries."""
    made = node(name)
    return replace(made, profile=replace(made.profile, serving=True))


def algorithms(topology: Topology, ranks: int, *sizes: float) -> list[str]:
    """Return what carries all-reduces of some sizes over the first ranks."""
    planner, members = Chooser(topology), tuple(range(ranks))
    return [planner.choose("all_reduce", size, members, None).algorithm for size in sizes]


def test_small_messages_go_by_them_and_large_ones_by_nccl() -> None:
    """One shot up to 256 KiB, two shots up to 8 MiB; from there on what training uses."""
    sizes = 16 * KIB, MIB, 32 * MIB
    assert algorithms(serving("a100-node"), 8, *sizes) == ["one_shot", "two_shot", "direct"]
    assert algorithms(serving("a100-node"), 2, *sizes) == ["one_shot", "one_shot", "direct"]
    assert algorithms(serving("h100-node"), 8, 32 * MIB) == ["in_switch"]


def test_without_being_asked_for_nothing_changes() -> None:
    """A profile that has times of them is used as one that has none."""
    plain = node("h100-node")
    none = replace(
        plain.profile, protocols=tuple(w for w in plain.profile.protocols if w.last == math.inf)
    )
    assert len(none.protocols) < len(plain.profile.protocols)
    for ranks in (2, 3, 4, 8):
        for size in (KIB, 256 * KIB, 4 * MIB, 64 * MIB):
            found = [
                Chooser(t).choose("all_reduce", size, tuple(range(ranks)), None)
                for t in (plain, replace(plain, profile=none))
            ]
            assert found[0] == found[1]


@pytest.mark.parametrize(
    ("name", "ranks"), [("h100-node", 3), ("h100-4-nodes", 16), ("gb200-nvl72", 8)]
)
def test_what_was_not_measured_goes_by_nccl(name: str, ranks: int) -> None:
    """Fewer or more members than there are rows of, and members in several nodes."""
    sizes = [16 * KIB, MIB]
    assert algorithms(serving(name), ranks, *sizes) == algorithms(node(name), ranks, *sizes)


def test_a_device_without_rows_has_what_it_had() -> None:
    """RCCL's protocols of MI300X, whatever is asked for."""
    sizes = 16 * KIB, MIB
    one, other = (t("mi300x-node") for t in (serving, node))
    assert algorithms(one, 8, *sizes) == algorithms(other, 8, *sizes) == ["direct", "direct"]


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("a100-sxm-80gb", "a100-node"), ("h100-sxm", "h100-node"), ("h200-sxm", "h200-node"),
        ("b200-sxm", "b200-node"), ("gb200", "gb200-nvl72"),
    ],
)  # fmt: skip
def test_times_are_those_that_were_measured(device: str, name: str) -> None:
    """Within 7 % on average over sizes and members, and 32 % at worst."""
    pytest.importorskip("scipy")
    from tspsim.calibrate.published.rows import calls

    rows = [
        call for call in calls(shipped("published"))
        if (call.device, call.source) == (device, "aiconfigurator-core-serving")
    ]  # fmt: skip
    place, planner = serving(name), Chooser(serving(name))
    off = [
        planner.choose("all_reduce", c.bytes, tuple(range(c.ranks)), None).time(c.bytes, place)
        / c.seconds - 1
        for c in rows
    ]  # fmt: skip
    assert len(rows) == (32 if device == "gb200" else 48)
    assert fmean(map(abs, off)) < 0.07
    assert max(map(abs, off)) < 0.32


def test_a_forward_of_few_tokens_is_faster_with_them() -> None:
    """Two all-reduces of 128 KiB a layer, each by one shot; the key is in the result's document."""
    plain, custom = (
        tspsim.run({**LAYER, "kernels": {"all_reduce": k}}) for k in ("nccl", "custom")
    )
    assert custom.summary.communication.algorithms["all_reduce"] == ["one_shot"]
    assert plain.summary.communication.algorithms["all_reduce"] == ["direct"]
    assert custom.summary.step_time < plain.summary.step_time - 2 * 8e-6
    assert custom.scenario.document["kernels"]["all_reduce"] == "custom"
    assert from_document(LAYER).topology.profile.serving is False


@pytest.mark.parametrize("phase", ["prefill", "decode", "generate", "forward", "train"])
def test_left_out_they_are_taken_in_inference_alone(phase: str) -> None:
    """A phase decides where nothing is stated, and what is stated wherever it is."""
    inference = phase not in ("forward", "train")
    assert Kernels().reduces_as_servers(phase) is inference
    assert Kernels(all_reduce="custom").reduces_as_servers(phase)
    assert not Kernels(all_reduce="nccl").reduces_as_servers(phase)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"topology": {"file": "mi300x-node"}}, "'mi300x-published' has no times of one; nccl"),
        ({"network": {"algorithm": "ring"}}, "network.algorithm is 'ring' for every call"),
    ],
)
def test_asking_for_what_cannot_be_is_refused(changes: dict[str, object], told: str) -> None:
    """With the place and what there is instead."""
    with pytest.raises(ScenarioError, match=r"kernels\.all_reduce: found 'custom'") as error:
        from_document({**LAYER, "kernels": {"all_reduce": "custom"}, **changes})
    assert told in str(error.value)


def test_a_profile_states_the_largest_message_and_the_most_members() -> None:
    """Both are read with their units, and left out hold for any."""
    form = ProtocolForm.model_validate({"first": "1 B", "last": "256 KiB", "most": 4})
    assert form.value() == Protocol(first=1.0, last=256 * KIB, most=4)
    assert ProtocolForm().value().last == math.inf
