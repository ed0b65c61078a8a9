"""Kernels of inference: weights in fp8, replayed graphs, and a ring that passes queries."""

from __future__ import annotations

from typing import Any

import pytest

from tspsim import run
from tspsim.files.errors import ScenarioError
from tspsim.kernels import SMALLEST, Kernels
from tspsim.program.types import Work
from tspsim.runner import Run
from tspsim.scenario import from_document
from tspsim.topology.hardware import Curve, Device, Profile, Roofline
from tspsim.values import check

MODEL = {"hidden": 8192, "layers": 2, "heads": 64, "kv_heads": 8, "ffn": 28672, "vocab": 512}


def scenario(**workload: Any) -> dict[str, Any]:
    """Return a step of inference on eight H100."""
    return {
        "model": MODEL,
        "workload": {"phase": "prefill", "prompt": 4096, **workload},
        "topology": {"file": "h100-node.yaml"},
        "strategy": {"kind": "tp", "degree": 8},
        "kernels": "serving",
    }


def weights(result: Run) -> float:
    """Return the bytes of weights of the fullest rank."""
    return result.summary.memory.at_peak["weight"]


# ---- weights in fp8 ------------------------------------------------------------------------------


def test_weights_in_fp8_take_half_the_memory_and_less_time() -> None:
    """Of the block that is stated, and of no other: norms, embedding and head stay."""
    plain, mlp, both = (
        run(scenario(weights=form))
        for form in ({}, {"mlp": "fp8"}, {"mlp": "fp8", "attention": "fp8"})
    )
    of_mlp = 2 * 3 * 8192 * 28672 // 8
    of_attention = 2 * (2 * 8192 * 8192 + 2 * 8192 * 1024) // 8
    assert weights(plain) - weights(mlp) == of_mlp
    assert weights(mlp) - weights(both) == of_attention
    assert plain.summary.step_time > mlp.summary.step_time


def test_products_of_weights_in_fp8_are_those_of_the_block() -> None:
    """They multiply fp8 and read a byte an element; what is in fp8 already is not cast again."""
    program = run(scenario(weights={"mlp": "fp8"})).timeline.programs.of(0)
    works = {op.label: op.work for op in program.ops if op.layer == 0 and op.work}
    assert {label for label, work in works.items() if work.dtype} == {"gate", "up", "down"}
    gate = works["gate"]
    assert gate.narrow == 8192 * 28672 // 8
    assert gate.bytes == 2 * 4096 * 8192 + gate.narrow + 2 * 4096 * 28672 // 8


def test_a_weight_in_fp8_is_not_cast_before_its_product() -> None:
    """Without a table: traffic of narrow operands, and of casting the activations alone."""
    device = Device("d", (("bf16", 1e15), ("fp8", 1e30)), 1e12, 1e12)
    roofline = Roofline(device, Profile("p"), "bf16")
    m, k, n = 128, 256, 512
    kept = Work(
        2 * m * k * n, 2 * m * k + k * n + 2 * m * n, "matmul", (m, k, n), "fp8", narrow=k * n
    )
    moved = m * k + k * n + 2 * m * n
    cast = m * k * (2 + 2) / 2
    assert roofline.seconds(kept) == pytest.approx((moved + cast) / 1e12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"topology": {"file": "a100-node.yaml"}}, "workload.weights.mlp: found 'fp8'; device"),
        (
            {"workload": {"phase": "train", "sequence": 64, "weights": {"mlp": "fp8"}}},
            "workload.weights: a key of",
        ),
    ],
)  # fmt: skip
def test_weights_in_fp8_are_of_inference_and_of_devices_that_multiply_it(change, told) -> None:
    """Elsewhere they are refused, with their place."""
    with pytest.raises(ScenarioError) as caught:
        from_document({**scenario(weights={"mlp": "fp8"}), **change})
    assert told in str(caught.value)


# ---- replayed graphs -----------------------------------------------------------------------------


def test_a_replayed_kernel_takes_the_smallest_ones_time_and_its_traffic() -> None:
    """A curve of calls says what large arrays reach; small ones do not wait for Python."""
    device = Device("d", (("bf16", 1e15),), 1e12, 1e12)
    curve = Curve(((1e6, 0.01), (1e9, 0.8)))
    work = Work(0, 10**5, "elementwise")
    called = Roofline(device, Profile("p", (("elementwise", curve),)), "bf16")
    replayed = Roofline(device, Profile("p", (("elementwise", curve),), replayed=2e-6), "bf16")
    assert called.seconds(work) == pytest.approx(1e5 / 1e10)
    assert replayed.seconds(work) == pytest.approx(2e-6 + 1e5 / 0.8e12)
    # Of a product whose time nobody measured, nobody measured the start either.
    product = Work(10**9, 1, "matmul")
    assert replayed.seconds(product) == pytest.approx(2e-6 + called.seconds(product))


def test_steps_of_inference_are_replayed_and_those_of_training_are_called() -> None:
    """Unless a scenario says otherwise."""
    assert Kernels().smallest("decode") == SMALLEST
    assert Kernels().smallest("train") == 0
    assert Kernels(replayed=0.0).smallest("decode") == 0
    decode = {**scenario(), "workload": {"phase": "decode", "cached": 64, "batch": 64}}
    called = {**decode, "kernels": {"preset": "serving", "replayed": "0 us"}}
    assert run(decode).summary.step_time < run(called).summary.step_time


# ---- attention to a cache ------------------------------------------------------------------------


def ring(**workload: Any) -> dict[str, Any]:
    """Return a prefill in which queries travel."""
    strategy = {"kind": "tp_sp", "tp": 2, "sp": 4, "kv": "ring", "passes": "queries"}
    return {**scenario(**workload), "strategy": strategy}


def test_a_ring_of_queries_ends_in_one_exchange_behind_all_attention() -> None:
    """Hops hide behind attention; the way home waits for the last, as arXiv 2411.01783 has it."""
    timeline = run(ring(cached=2048)).timeline
    ops = [(number, op) for number, op in enumerate(timeline.programs.of(0).ops) if op.layer == 1]
    last = max(timeline.end[0][n] for n, op in ops if op.label == "attention")
    (home,) = [n for n, op in ops if op.kind.name == "all_to_all"]
    hops = [n for n, op in ops if op.kind.name == "shift"]
    assert len(hops) == 3
    assert timeline.start[0][home] >= last
    assert all(timeline.end[0][n] < last for n in hops)


@pytest.mark.parametrize("workload", [{}, {"cached": 2048}, {"chunk": 1000}])
def test_a_ring_of_queries_computes_what_a_dense_model_does(workload) -> None:
    """With nothing, a prefix and pieces in the cache."""
    assert check(from_document(ring(**workload))).passed


def test_a_prompts_attention_is_that_of_the_stated_kernel() -> None:
    """On H100 FlashAttention-2 reaches 0.6 of what the tables have; a token has one kernel."""
    for kernel in ("flash-2", "flash-3"):
        kernels = {"preset": "serving", "attention": kernel}
        program = run({**scenario(), "kernels": kernels}).timeline.programs.of(0)
        found = {op.work.kernel for op in program.ops if op.label == "attention" and op.work}
        assert found == {kernel}
