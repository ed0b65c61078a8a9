"""Traces of torch.profiler beside the simulation: what is read, matched, listed and refused."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

import tspsim
from tests import kineto
from tests.kineto import TSP, check_collectives, collectives
from tspsim.cli.app import app
from tspsim.output.plots import style
from tspsim.reports import beside_plot
from tspsim.reports.beside import Beside, activities_of, compare_trace
from tspsim.reports.beside_rows import times
from tspsim.traces import names
from tspsim.traces.files import is_trace
from tspsim.traces.steps import measured

#: Two ranks of the reference on gloo, as ``tspsim calibrate measure --trace`` wrote them.
GLOO = Path(__file__).parent.parent / "calibration" / "traces" / "tsp-2"
LAYER = ("tsp-layer", "workload.phase=train")
SLOWER = 1.25


@pytest.fixture(scope="module")
def gloo() -> Beside:
    """Return the committed trace beside the simulation of its block."""
    return compare_trace(GLOO / "scenario.yaml", GLOO)


@pytest.fixture(scope="module")
def layer() -> Any:
    """Return a simulated step with broadcasts, a ring and gathers."""
    return tspsim.run(*LAYER)


@pytest.fixture(scope="module")
def gpu(layer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return traces of it as a GPU would give them: three steps, each slower than the last."""
    folder = tmp_path_factory.mktemp("gpu")
    kineto.write(layer, folder, steps=3, slower=SLOWER)
    return folder


def test_the_reference_and_its_simulation_communicate_alike(gloo: Beside) -> None:
    """Calls and bytes of every collective are equal, though gloo runs one as another."""
    check_collectives(gloo, TSP)
    assert collectives(gloo)["all_gather"][0] == (4, 4 * 2**20)


def test_what_only_one_side_has_is_listed(gloo: Beside) -> None:
    """With what it is called there, how often it is, and how long it takes."""
    told = repr(gloo)
    assert re.search(r"Only in the trace, a rank:\n  views, allocation: 57\d calls", told)
    assert re.search(r"  issuing collectives: 20 calls, .*c10d::_reduce_scatter_base_", told)
    assert "Only in the simulation" not in told


def test_what_the_document_says_of_it_is_what_the_trace_gives(gloo: Beside) -> None:
    """The numbers between the lines of the table of docs/traces.md, each from its rows."""
    text = (Path(__file__).parent.parent / "docs" / "traces.md").read_text(encoding="utf-8")
    said, rows = " ".join(text.split()).replace(" %", "%"), {row.kind: row for row in gloo.rows}
    small = rows["elementwise"]
    assert small.measured is not None
    assert small.predicted is not None
    mean = 1e6 * small.measured.seconds / small.measured.calls
    assert f"are {small.measured.calls:.0f} small ops of {mean:.0f} µs on average" in said
    assert f"simulation has {small.predicted.calls:.0f}, one kernel" in said
    both = [rows[kind] for kind in ("broadcast", "all_gather")]
    took, foreseen = (
        sum(side.seconds - side.waiting for side in sides if side)
        for sides in ([row.measured for row in both], [row.predicted for row in both])
    )
    assert f"Together they are predicted {foreseen / took - 1:.0%} too slow" in said.replace(
        " %", "%"
    )
    measured, predicted = gloo.times
    early = 1 - predicted.step / measured.step
    assert f"The step was predicted {early:.0%} too fast" in said


# ---- a GPU ---------------------------------------------------------------------------------------


def test_the_trace_of_a_simulation_gives_the_simulation_back(layer: Any, gpu: Path) -> None:
    """Of three steps the median counts; every kind is as much slower as it was made."""
    found = compare_trace(layer, gpu)
    assert found.step.chosen == "step 1, the median of steps 0 to 2"
    assert [row.ratio for row in found.rows] == pytest.approx([1 / SLOWER] * len(found.rows))
    assert all(one == other for one, other in collectives(found).values())
    one, other = found.times
    assert one[:4] == pytest.approx([SLOWER * seconds for seconds in other[:4]])
    assert one.overlap == pytest.approx(other.overlap)


def test_exposed_communication_is_that_of_the_run(layer: Any) -> None:
    """What is computed from a side's activities is what every other output says."""
    rank = layer.timeline.slowest_rank
    found = times([activities_of(layer, rank)], layer.timeline.step_time)
    figures = layer.summary.to_dict()["time"]
    assert found.compute == pytest.approx(figures["compute"])
    assert found.exposed == pytest.approx(figures["exposed_communication"])


@pytest.mark.filterwarnings("ignore")
def test_hta_says_the_same_of_the_same_trace(layer: Any, tmp_path: Path) -> None:
    """Holistic Trace Analysis: busy and exposed times, and the overlap, to a thousandth."""
    analysis = pytest.importorskip("hta.trace_analysis")
    kineto.write(layer, tmp_path, scale=100)  # it counts whole microseconds
    seen = analysis.TraceAnalysis(trace_files={0: "rank0.json"}, trace_dir=str(tmp_path))
    parts = seen.get_temporal_breakdown(visualize=False).iloc[0]
    share = seen.get_comm_comp_overlap(visualize=False).iloc[0]["comp_comm_overlap_pctg"]
    own = compare_trace(layer, tmp_path / "rank0.json").times[0]
    assert parts["compute_time(us)"] == pytest.approx(own.compute * 1e6, rel=1e-3)
    assert parts["non_compute_time(us)"] == pytest.approx(own.exposed * 1e6, rel=1e-3)
    assert share == pytest.approx(100 * (own.overlap or 0), abs=0.1)


def test_a_collective_that_is_missing_or_strange_is_told(
    layer: Any, gpu: Path, tmp_path: Path
) -> None:
    """One kind is taken out of the trace, one kernel is of a kind that nothing simulates."""
    data = json.loads((gpu / "rank0.json").read_text(encoding="utf-8"))
    events = [e for e in data["traceEvents"] if "AllReduce" not in e["name"]]
    strange = {"Collective name": "_gather_oops"}
    start = kineto.APART + 3.0  # in the second step, the median
    events.append(kineto.event("kernel", "ncclDevKernel_X", start, 5.0, pid=0, tid=9, **strange))
    path = tmp_path / "rank0.json"
    path.write_text(json.dumps(data | {"traceEvents": events}), encoding="utf-8")
    found = compare_trace(layer, path)
    alone = {row.kind: row for row in found.rows if row.ratio is None}
    assert alone.keys() == {"all_reduce", "gather"}
    assert alone["all_reduce"].measured is None
    assert alone["gather"].predicted is None
    assert re.search(r"Only in the trace, a rank:\n  gather: 1 call, .* \(ncclDevK", repr(found))
    assert re.search(r"Only in the simulation, a rank:\n  all_reduce: 2 calls", repr(found))


def test_messages_of_another_size_are_told(layer: Any, gpu: Path, tmp_path: Path) -> None:
    """A trace with twice the tokens is of another scenario: the sizes say so."""
    text = (gpu / "rank0.json").read_text(encoding="utf-8")
    path = tmp_path / "rank0.json"
    path.write_text(text.replace('"dtype": "Byte"', '"dtype": "Half"'), encoding="utf-8")
    told = " ".join(repr(compare_trace(layer, path)).split())
    assert re.search(r"all_gather of [\d,]+ bytes, all ranks: 0 in the trace, 8 in the sim", told)


# ---- steps and files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "chosen"),
    [
        (1, "step 0, the only one"),
        (2, "step 0, the median of steps 0 to 1"),
        (5, "step 2, the median of steps 0 to 4"),
    ],
)
def test_the_median_of_any_number_of_steps_counts(
    layer: Any, tmp_path: Path, steps: int, chosen: str
) -> None:
    """Of an even number it is the faster one of the middle two: a step that was run."""
    kineto.write(layer, tmp_path, steps, 1.1)
    assert measured([tmp_path / "rank0.json"]).chosen == chosen


def test_without_marks_the_whole_trace_is_a_step(gpu: Path, tmp_path: Path) -> None:
    """That is said."""
    path = altered(gpu, tmp_path, keep("kernel", "cuda_runtime", "cpu_op"))
    found = measured([path])
    assert found.chosen.startswith("no ProfilerStep marks")
    assert found.seconds > 2.0


def test_steps_that_not_all_ranks_have_are_told(gpu: Path, tmp_path: Path) -> None:
    """Rank 1 stopped a step earlier: the others count."""

    def less(data: dict[str, Any]) -> None:
        data["traceEvents"] = [e for e in data["traceEvents"] if e["name"] != "ProfilerStep#2"]

    paths = [gpu / "rank0.json", altered(gpu, tmp_path, less, 1)]
    assert measured(paths).chosen == "step 0, the median of steps 0 to 1; not of all ranks: 2"


def test_packed_files_and_names_say_the_same(gpu: Path, tmp_path: Path) -> None:
    """A gzipped file without distributedInfo has its rank from its name."""
    data = json.loads((gpu / "rank1.json").read_text(encoding="utf-8"))
    del data["distributedInfo"]
    packed = tmp_path / "host_rank1.pt.trace.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(data).encode()))
    found = measured([packed])
    assert [rank.rank for rank in found.ranks] == [1]
    assert found.seconds == pytest.approx(measured([gpu / "rank1.json"]).seconds)


def altered(
    gpu: Path, folder: Path, change: Callable[[dict[str, Any]], Any], rank: int = 0
) -> Path:
    """Write a rank's trace with a change."""
    data = json.loads((gpu / f"rank{rank}.json").read_text(encoding="utf-8"))
    change(data)
    path = folder / f"rank{rank}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def about(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a change of what the trace says of its run."""
    return lambda data: data["distributedInfo"].update(changes)


def of_event(place: int, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a change of one event."""
    return lambda data: data["traceEvents"][place].update(changes)


def keep(*cats: str) -> Callable[[dict[str, Any]], Any]:
    """Return a change that leaves events of some categories."""
    return lambda data: data.update(
        traceEvents=[e for e in data["traceEvents"] if e["cat"] in cats]
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (about(world_size=8), r"rank1.json: distributedInfo: is of 4 ranks, \S+ of 8 ranks: mixed"),
        (about(rank=1), r"rank1.json: is of rank 1, and so is \S+rank0.json"),
        (about(rank=7), r"rank0.json: distributedInfo: rank 7 of a run of 4 ranks"),
        (about(rank="x"), r"rank0.json: distributedInfo.rank: found 'x'; a number"),
        (lambda d: d.pop("distributedInfo"), r"is of 4 ranks, .* of a run that it does not desc"),
        (lambda d: d.update(traceEvents=[]), r"rank0.json: is of a run on nccl, but has no ker"),
        (keep("user_annotation"), r"rank0.json: is of a run on nccl, .* ProfilerActivity.CUDA"),
        (lambda d: (about(backend="")(d), keep()(d)), r"rank0.json: no kernel, .* empty\?"),
        (lambda d: d.update(traceEvents={}), r"rank0.json: no trace of torch.profiler"),
        (of_event(4, dur=None), r"rank0.json: event 5, '\S+': found dur None; a number .* cut\?"),
        (of_event(4, ts="soon"), r"rank0.json: event 5, '\S+': found ts 'soon'"),
        (of_event(4, name=3), r"rank0.json: event 5: found name 3; a text is expected"),
        (of_event(4, args=3), r"rank0.json: event 5, '\S+': args is no object"),
        (of_event(4, ts=10**400), r"rank0.json: event 5, '\S+': found ts 1000.*; microseconds"),
        (of_event(4, tid=[1]), r"rank0.json: event 5, '\S+': found tid \[1\]; a number or"),
        (of_event(4, args={"correlation": {}}), r"rank0.json: event 5, .* args.correlation {}"),
        (of_event(4, cat=["kernel"]), r"rank0.json: event 5, .* found cat \['kernel'\]"),
        (of_event(4, dur=-1), r"rank0.json: event 5, '\S+': lasts -1 us: below 0"),
        (lambda d: [e.update(name="ProfilerStep#" + "9" * 5000) for e in d["traceEvents"]
                    if e["name"].startswith("ProfilerStep")],
         r"no ProfilerStep is in all traces \(\S+rank0.json: none; \S+rank1.json: 0, 1, 2\)"),
        (lambda d: d["traceEvents"].append(3), r"rank0.json: event \d+: found 3; an event is an"),
        (lambda d: [e.update(name="ProfilerStep#9") for e in d["traceEvents"]
                    if e["name"].startswith("ProfilerStep")],
         r"no ProfilerStep is in all traces \(\S+rank0.json: 9; \S+rank1.json: 0, 1, 2\)"),
    ],
)  # fmt: skip
def test_traces_that_make_no_sense_are_refused(
    gpu: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    """With file and event; exit code 2, and nothing is drawn."""
    check_refused([altered(gpu, tmp_path, change), gpu / "rank1.json"], tmp_path, told)


def check_refused(traces: list[Path], folder: Path, told: str, scenario: str = LAYER[0]) -> None:
    """Compare with these traces: it ends with exit code 2 and this message."""
    words = ["compare", scenario, *map(str, traces), LAYER[1], "-o", str(folder / "p.png")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    assert re.search(told, " ".join(done.output.split())), done.output
    assert not (folder / "p.png").exists()


def test_traces_that_were_cut_are_refused(gpu: Path, tmp_path: Path) -> None:
    """In the middle of an event, and in the middle of a packed file."""
    text = (gpu / "rank0.json").read_text(encoding="utf-8")
    events = text[:2000].count('"ph"')
    (tmp_path / "rank0.json").write_text(text[:2000], encoding="utf-8")
    told = rf"rank0.json:1:\d+: not valid JSON: .*, in event {events}; was it cut\?"
    check_refused([tmp_path / "rank0.json"], tmp_path, told)
    packed = tmp_path / "rank1.json.gz"
    packed.write_bytes(gzip.compress(text.encode())[:2000])
    check_refused([packed], tmp_path, r"rank1.json.gz: cannot be unpacked .* was it cut\?")
    check_refused([tmp_path / "rank2.json.gz"], tmp_path, r"rank2.json.gz: no such file")


def test_a_base_that_is_no_time_counts_for_nothing(gpu: Path, tmp_path: Path) -> None:
    """Times of one file are from one clock whatever it says of that."""
    path = altered(gpu, tmp_path, lambda d: d.update(baseTimeNanoseconds=10**400))
    assert measured([path]).seconds == measured([gpu / "rank0.json"]).seconds


def test_traces_of_other_ranks_and_without_ranks_are_refused(gpu: Path, tmp_path: Path) -> None:
    """Of another run than the scenario's, or of nobody knows whom."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for number, path in enumerate(paths):
        data = json.loads((gpu / f"rank{number}.json").read_text(encoding="utf-8"))
        del data["distributedInfo"]
        path.write_text(json.dumps(data), encoding="utf-8")
    check_refused(paths, tmp_path, r"a.json: says no rank .*: name it as rank0.json is")
    words = str(GLOO / "scenario.yaml")
    check_refused([gpu], tmp_path, r"is of a run of 4 ranks; the scenario has 2", words)
    (tmp_path / "rank5.json").write_bytes(paths[0].read_bytes())
    check_refused([tmp_path / "rank5.json"], tmp_path, r"is of rank 5; the scenario has ranks 0")
    gloo = GLOO / "rank1.json.gz"
    told = r"is of 2 ranks, \S+rank0.json of 4 ranks: mixed runs"
    check_refused([gpu / "rank0.json", gloo], tmp_path, told)


def test_one_scenario_stands_beside_traces(gpu: Path) -> None:
    """None and two of them are refused."""
    for scenarios, told in (([], "none"), (["tsp-layer", "tp-layer"], "tsp-layer, tp-layer")):
        done = CliRunner().invoke(app, ["compare", *scenarios, str(gpu)])
        assert done.exit_code == 2
        assert f"one scenario or folder of a result, found {told}" in " ".join(done.output.split())


def test_a_trace_is_told_from_results_and_scenarios(gpu: Path, tmp_path: Path) -> None:
    """By its name and how it begins; a folder of results is none, whatever lies in it."""
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    (tmp_path / "trace.json.gz").write_bytes(b"")
    (tmp_path / "scenario.json").write_text('{"model": {}}', encoding="utf-8")
    assert is_trace(gpu)
    assert is_trace(gpu / "rank0.json")
    assert not is_trace(tmp_path)
    assert not is_trace(tmp_path / "scenario.json")
    assert not is_trace("tsp-layer")


# ---- names, picture, commands --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgs<4096ul>)", "all_reduce"),
        ("ncclKernel_ReduceScatter_RING_LL_Sum_float", "reduce_scatter"),
        ("c10d::_reduce_scatter_base_", "reduce_scatter"), ("_allgather_base", "all_gather"),
        ("c10d::allgather_into_tensor_coalesced_", "all_gather"), ("gloo:recv", "receive"),
        ("ncclDevKernel_SendRecv", "shift"), ("all_to_allv", "all_to_all"), ("coalesced", None),
    ],
)  # fmt: skip
def test_a_collective_is_known_by_all_its_names(name: str, kind: str | None) -> None:
    """Those of c10d, of gloo and of NCCL's kernels."""
    assert names.collective(name) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_256x128_64x4_1x2_h_bz_coopA_NTN", "matmul"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas", "matmul"),
        ("void flash_fwd_kernel<Flash_fwd_kernel_traits<128>>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16", "attention_backward"),
        ("triton_poi_fused_add_mm_silu_0", None), ("triton_tem_fused_mm_3", "matmul"),
        ("void at::native::vectorized_elementwise_kernel<4, add>", None),
        ("void vllm::reshape_and_cache_flash_kernel<bf16>", None),
        ("kernel_cutlass_kernel_flashinfernormkernelsfused_add_rmsnorm", None),
        ("kernel_cutlass_kernel_flashinfergemmkernelsdense_blockscaled_gemm_sm100", "matmul"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<FlashAttnFwdSm90>>", "attention"),
        ("void flashinfer::BatchPrefillWithPagedKVCacheKernel<128>", "attention"),
        ("_fwd_grouped_kernel_stage1", "attention"), ("attn_fwd.kd", "attention"),
        ("bwd_kernel_dk_dv", "attention_backward"),
        ("GemmUniversal<cutlass::gemm::GroupProblemShape<cute::tuple<int, int, int>>>", "grouped"),
        ("void deep_gemm::fp8_gemm_kernel<4096u, 7168u, (deep_gemm::GemmType)1>", "grouped"),
        ("void deep_gemm::fp8_gemm_kernel<4096u, 7168u, (deep_gemm::GemmType)0>", "matmul"),
        ("_matmul_ogs_NNT_bf16xbf16xmxfp4_128x256x64", "grouped"),
        ("bmm_Bfloat16_E2m1E2m1_Fp32_t128x32x256_s5_TN_schedS_dynBatch_sm100a", "grouped"),
        ("void marlin::Marlin<__nv_bfloat16, 256>", "matmul"),
        ("triton_tem_fused_addmm_0", "matmul"),
        ("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x256x64", "matmul"),
    ],
)  # fmt: skip
def test_a_kernel_is_known_by_its_name(name: str, kind: str | None) -> None:
    """Where it does not tell, the op that launched it does."""
    assert names.of_kernel(name) == kind


def test_collectives_of_other_libraries_are_known(tmp_path: Path) -> None:
    """All-reduces of serving libraries and the rows of experts communicate; none is NCCL's."""
    own = {
        "void vllm::cross_device_reduce_1stage<bf16, 2>": "all_reduce",
        "void flashinfer::trtllm_mnnvl_allreduce::twoshotAllreduceKernel<2>": "all_reduce",
        "void deep_ep::intranode::dispatch<8, 768, 8192>": "all_to_all",
        "EpDispatchIntraNodeKernel<mori::moe::EpDispatchCombineArgs<bf16>>": "all_to_all",
        "kuserbuffers_pushsend(int*, int*, int4*, int4*, int)": "send",
        "userbuffers_fp16_sum_inplace_gpu_rw_ag": "all_gather",
        "void userbuffers_fp16_sum_inplace_gpu_rr_rs_oop<8>": "reduce_scatter",
        "two_shot_all_reduce_kernel_inplace<bf16, 16, 8>": "all_reduce",
        "multimem_all_gather_kernel<16>": "all_gather",
    }
    events = [kineto.event("kernel", name, 1.0, 5.0, tid=9) for name in own]
    (tmp_path / "t.json").write_text(json.dumps(kineto.document(events)), encoding="utf-8")
    (rank,) = measured([tmp_path / "t.json"]).ranks
    assert {a.name: a.kind for a in rank.activities if a.communication} == own


def test_a_copy_that_inductor_fused_behind_a_collective_is_no_collective(tmp_path: Path) -> None:
    """Its name has the ops around it."""
    events = [kineto.event("kernel", "triton_poi_fused_all_reduce_add_3", 1.0, 5.0, tid=9)]
    (tmp_path / "t.json").write_text(json.dumps(kineto.document(events)), encoding="utf-8")
    (rank,) = measured([tmp_path / "t.json"]).ranks
    assert [a.kind for a in rank.activities] == ["elementwise"]


def test_categories_of_older_versions_are_those_of_newer_ones(tmp_path: Path) -> None:
    """PyTorch up to 1.12 wrote ``Kernel``, ``Runtime`` and ``Operator``."""
    found = []
    for names_of in (("cpu_op", "cuda_runtime", "kernel"), ("Operator", "Runtime", "Kernel")):
        op, launch, kernel = names_of
        events = [
            kineto.event(op, "aten::linear", 0.0, 9.0, tid=1),
            kineto.event(launch, "cudaLaunchKernel", 1.0, 1.0, tid=1, correlation=3),
            kineto.event(kernel, "strange", 20.0, 5.0, tid=9, correlation=3),
        ]
        (tmp_path / "t.json").write_text(json.dumps(kineto.document(events)), encoding="utf-8")
        (rank,) = measured([tmp_path / "t.json"]).ranks
        found.append([(a.kind, a.name, a.asked) for a in rank.activities])
    assert found[0] == found[1]
    assert found[0][0][0] == "matmul"


def test_the_picture_has_both_on_one_axis_in_the_same_rows_and_colours(gloo: Beside) -> None:
    """Measured above, simulated below: the same rows, a colour a kind, milliseconds."""
    drawn = beside_plot.figure(gloo)
    top, bottom = drawn.axes
    rows = [[label.get_text() for label in ax.get_yticklabels()] for ax in (top, bottom)]
    assert rows[0] == rows[1]
    assert rows[0][:3] == ["rank 0  compute", "broadcast", "all_gather"]
    assert top.get_xlim() == bottom.get_xlim()
    assert bottom.get_xlabel().endswith("[ms]")
    found = [
        {to_hex(c) for b in ax.collections for c in b.get_facecolors()} for ax in (top, bottom)
    ]
    for kind in ("broadcast", "all_gather", "reduce", "send"):
        colour = style.COMMUNICATION[kind].colour.lower()  # type: ignore[index]
        assert colour in found[0] & found[1]
    assert top.get_title(loc="left").startswith("measured: 472.5 ms (step 1")
    assert "0.78 of what was measured" in bottom.get_title(loc="left")


def test_the_command_says_what_the_function_does(gloo: Beside, tmp_path: Path) -> None:
    """The same figures as JSON; a picture where one is asked for."""
    words = ["compare", str(GLOO / "scenario.yaml"), str(GLOO), "--json"]
    done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "p.svg")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found | {"files": []} == json.loads(json.dumps(gloo.to_dict())) | {"files": []}
    assert (tmp_path / "p.svg").stat().st_size > 10_000
    assert {row["kind"] for row in found["kinds"]} >= {"matmul", "broadcast", "views, allocation"}
