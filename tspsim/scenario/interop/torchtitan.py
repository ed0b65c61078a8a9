"""From a configuration file of torchtitan to a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tspsim.files.errors import ScenarioError, did_you_mean
from tspsim.files.source import in_order
from tspsim.files.source import read as read_source
from tspsim.scenario import files
from tspsim.scenario.interop.draft import Draft, Key, Passed, grouped
from tspsim.scenario.interop.machine import machine_keys, size
from tspsim.scenario.interop.megatron_experts import place
from tspsim.scenario.interop.megatron_mesh import Mesh
from tspsim.scenario.interop.toml_file import TomlFile
from tspsim.scenario.interop.toml_file import read as read_toml
from tspsim.scenario.interop.torchtitan_keys import KEYS, MODELS, SCHEDULES, SECTIONS
from tspsim.scenario.models import read_config

TOOL = "torchtitan"
_P, _T = "parallelism.", "training."
TP, CP, PP = (f"{_P}{name}_parallel_degree" for name in ("tensor", "context", "pipeline"))
COPIES, SHARDS = (f"{_P}data_parallel_{name}_degree" for name in ("replicate", "shard"))
EP, ETP = f"{_P}expert_parallel_degree", f"{_P}expert_tensor_parallel_degree"
_SELECTIVE = "activation_checkpoint.selective_ac_option"
MICRO, BATCH = f"{_P}pipeline_parallel_microbatch_size", f"{_T}global_batch_size"


def read(
    text: str,
    name: str,
    world: int | None = None,
    topology: str | None = None,
    model: str | None = None,
) -> Draft:
    """Return the scenario that a file asks for.

    Parameters
    ----------
    text, name : str
        What the file holds, and its name.
    world : int, optional
        Devices; those of the topology, or as many as the degrees make, when not given.
    topology, model : str, optional
        A file, or a shipped name; the model where the file's flavor is not known here.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    file = read_toml(text, name, KEYS, SECTIONS, TOOL)
    devices = world or (size(topology) if topology else _stated(file))
    wrong = list(_problems(file, devices, model))
    if wrong:
        raise ScenarioError(in_order(wrong))
    assert devices is not None, "the problems say so"
    mesh = Mesh(devices, file.get(TP), file.get(CP), file.get(PP))
    keys = (
        *_model(file, model),
        *_workload(file, mesh),
        *_optimizer(file, mesh),
        *machine_keys(devices, topology),
        *_strategy(file, mesh),
        *_pipeline(file),
        *_experts(file, mesh, model),
    )
    head = (f"Imported from {name}, of {TOOL}, by 'tspsim import torchtitan'.",)
    return Draft(head, keys, _passed(file))


def _key(file: TomlFile, path: str, value: Any, *keys: str, note: str = "") -> Key:
    origin = file.origin(keys)
    at = next((file.place(key) for key in keys if file.has(key)), "")
    default = f"{TOOL}'s default" if keys and not origin else ""
    told = "; ".join(filter(None, (default, note)))
    return Key(tuple(path.split(".")), value, origin, at, told, keys)


def _stated(file: TomlFile) -> int | None:
    """Return the devices that the degrees make, if all are stated."""
    copies, shards = file.get(COPIES), file.get(SHARDS)
    ways = int(file.get(TP) * file.get(CP) * file.get(PP))
    return ways * copies * shards if shards > 0 else None


def _shards(file: TomlFile, mesh: Mesh) -> int:
    """Return over how many replicas weights are shared."""
    stated = file.get(SHARDS)
    return int(stated) if stated > 0 else mesh.dp // file.get(COPIES)


def _shape(file: TomlFile, model: str | None) -> str | dict[str, Any] | None:
    flavor = str(file.get("model.flavor")).removesuffix("_flex").removesuffix("_varlen")
    return model or MODELS.get((file.get("model.name"), flavor))


def _problems(file: TomlFile, world: int | None, model: str | None) -> Iterator[str]:
    if _shape(file, model) is None:
        known = [f"{name} {flavor}" for name, flavor in MODELS]
        asked = f"{file.get('model.name')} {file.get('model.flavor')}"
        message = f"found '{asked}'{did_you_mean(asked, known)}; known: {', '.join(known)}"
        yield file.line("model.flavor", f"{message}; or name its shape with --model")
    elif model and files.find(model, "models") is None:
        yield f"--model: {files.not_found(model, 'models')}"
    if world is None:
        message = "found -1, all devices that are left, and no number of devices; add --world-size"
        yield file.line(SHARDS, f"{message} 64, or --topology")
        return
    mesh = Mesh(world, file.get(TP), file.get(CP), file.get(PP))
    even = world % (mesh.tp * mesh.cp * mesh.pp) == 0
    if not even or _shards(file, mesh) * file.get(COPIES) != mesh.dp:
        degrees = f"{file.get(COPIES)} x {file.get(SHARDS)} x {mesh.cp} x {mesh.tp} x {mesh.pp}"
        message = f"{degrees} (replicate, shard, context, tensor, pipeline) are not {world} devices"
        yield file.line(SHARDS if file.has(SHARDS) else TP, message)
        return
    yield from _batch_problems(file, mesh)
    if place(file.get(EP), _cut(file, mesh), mesh) is None:
        message = f"found {file.get(EP)}; modelled: whole axes from the innermost on"
        yield file.line(EP if file.has(EP) else ETP, message)


def _local(file: TomlFile) -> int:
    older = file.has(f"{_T}batch_size") and not file.has(f"{_T}local_batch_size")
    return int(file.get(f"{_T}batch_size" if older else f"{_T}local_batch_size"))


def _batch_problems(file: TomlFile, mesh: Mesh) -> Iterator[str]:
    local, total = _local(file), file.get(BATCH)
    if total > 0 and total % (local * mesh.dp):
        near = (total // (local * mesh.dp) + 1) * local * mesh.dp
        message = f"found {total}; is no multiple of {local} x {mesh.dp} (local batch, replicas): "
        yield file.line(BATCH, f"{message}{near} would be")
    if mesh.pp > 1 and local % file.get(MICRO):
        yield file.line(MICRO, f"found {file.get(MICRO)}; does not divide the local batch, {local}")


def _model(file: TomlFile, model: str | None) -> Iterator[Key]:
    shape = _shape(file, model)
    flags = ("model.name", "model.flavor")
    if isinstance(shape, str):
        yield _key(file, "model.hf", shape, *flags)
        return
    assert shape is not None, "the problems say so"
    for name, value in shape.items():
        yield _key(file, f"model.{name}", value, *flags)


def _workload(file: TomlFile, mesh: Mesh) -> Iterator[Key]:
    local, total = _local(file), file.get(BATCH)
    times = total // (local * mesh.dp) if total > 0 else 1
    batch = file.get(MICRO) if mesh.pp > 1 else local
    sizes = (f"{_T}local_batch_size", f"{_T}batch_size")
    yield _key(file, "workload.sequence", file.get(f"{_T}seq_len"), f"{_T}seq_len")
    yield _key(file, "workload.batch", batch, *((MICRO,) if mesh.pp > 1 else sizes))
    yield _key(file, "workload.micro_batches", local // batch * times, BATCH, *sizes)
    precision = f"{_T}mixed_precision_param"
    dtype = {"bfloat16": "bf16", "float32": "fp32"}[file.get(precision)]
    yield _key(file, "workload.dtype", dtype, precision)
    if "float8" in str(file.get("model.converters")):
        yield _key(file, "workload.linears", "fp8", "model.converters")
    mode = file.get("activation_checkpoint.mode")
    middle = mode not in ("none", "full")
    note = f"not modelled: {mode} keeps a part; 'full' is the other end" if middle else ""
    what = "none" if middle else mode
    yield _key(file, "workload.recompute", what, "activation_checkpoint.mode", note=note)
    compiled = ("compile.enable", f"{_T}compile")
    preset = "torch-compile" if any(map(file.get, compiled)) else "torch-eager"
    yield _key(file, "kernels.preset", preset, *compiled)


def _optimizer(file: TomlFile, mesh: Mesh) -> Iterator[Key]:
    """Yield what a parameter takes: its shards are in fp32, and travel as they are multiplied.

    With ``training.dtype = "bfloat16"`` all is in bf16, moments too, and there is no fp32 copy.
    """
    precision, where = f"{_T}mixed_precision_param", "optimizer.bytes_per_parameter"
    if file.get(f"{_T}dtype") == "bfloat16":
        for name, size_of in {"weight": 2, "gradient": 2, "master": 0, "moments": 4}.items():
            yield _key(file, f"{where}.{name}", size_of, f"{_T}dtype")
        return
    half = file.get(precision) == "bfloat16" and _zero(file, mesh) == 3
    yield _key(file, f"{where}.weight", 2 if half else 4, precision)
    note = "with the weight's: fp32 shards" if half else ""
    yield _key(file, f"{where}.master", 2 if half else 0, precision, note=note)


def _zero(file: TomlFile, mesh: Mesh) -> int:
    return 3 if _shards(file, mesh) * mesh.cp > 1 else 0


def _strategy(file: TomlFile, mesh: Mesh) -> Iterator[Key]:
    kind = {(True, True): "tp_sp", (True, False): "tp", (False, True): "sp"}.get(
        (mesh.tp > 1, mesh.cp > 1), "fsdp"
    )
    yield Key(("strategy", "kind"), kind)
    both = kind == "tp_sp"
    if mesh.tp > 1:
        yield _key(file, f"strategy.{'tp' if both else 'degree'}", mesh.tp, TP)
        yield Key(("strategy", "sequence_parallel"), True, note=f"{TOOL} does so with TP")
    if mesh.cp > 1:
        yield _key(file, f"strategy.{'sp' if both else 'degree'}", mesh.cp, CP)
        method = f"{_P}context_parallel_rotate_method"
        kv = {"allgather": "all_gather", "alltoall": "ring"}[file.get(method)]
        yield _key(file, "strategy.kv", kv, method)
    yield _key(file, "strategy.dp", mesh.dp, COPIES, SHARDS)
    zero, shards = _zero(file, mesh), _shards(file, mesh)
    yield _key(file, "strategy.zero", zero, SHARDS)
    if zero and file.get(COPIES) > 1:
        yield _key(file, "strategy.shard.degree", shards, SHARDS)
    reshard = f"{_P}fsdp_reshard_after_forward"
    if zero and file.get(reshard) != "default":
        yield _key(file, "strategy.reshard", file.get(reshard) == "always", reshard)
    if zero:
        reduced = f"{_T}mixed_precision_reduce"
        name = {"float32": "fp32", "bfloat16": "bf16"}[file.get(reduced)]
        yield _key(file, "strategy.reduce", name, reduced)


def _pipeline(file: TomlFile) -> Iterator[Key]:
    if file.get(PP) == 1:
        return
    schedule = f"{_P}pipeline_parallel_schedule"
    yield _key(file, "strategy.pp.stages", file.get(PP), PP)
    yield _key(file, "strategy.pp.schedule", SCHEDULES[file.get(schedule)], schedule)
    yield Key(("strategy", "pp", "streams"), "rank", note="as torch.distributed.pipelining sends")


def _cut(file: TomlFile, mesh: Mesh) -> int:
    """Return over how many ranks an expert is cut."""
    stated = file.get(ETP)
    return int(stated) if stated and file.get(EP) > 1 else mesh.tp


def _experts(file: TomlFile, mesh: Mesh, model: str | None) -> Iterator[Key]:
    if file.get(EP) == 1 and not _mixture(_shape(file, model)):
        return
    found, where = place(file.get(EP), _cut(file, mesh), mesh), "strategy.experts"
    assert found is not None, "the problems say so"
    yield _key(file, f"{where}.layout", found.layout, EP)
    yield _key(file, f"{where}.over", list(found.over), EP)
    if found.degree is not None:
        yield _key(file, f"{where}.degree", found.degree, EP)
    if found.cut:
        yield _key(file, f"{where}.cut", list(found.cut), ETP)


def _mixture(shape: str | dict[str, Any] | None) -> bool:
    """Whether a model has experts."""
    there = files.find(shape, "models") if isinstance(shape, str) else None
    return there is not None and "experts" in read_config(read_source(there))[0]


def _passed(file: TomlFile) -> tuple[Passed, ...]:
    found, sections = [], dict.fromkeys(key.partition(".")[0] for key in file.values)
    for key in file.values:
        flag = file.known.get(key)
        if key == _SELECTIVE and file.get("activation_checkpoint.mode") != "selective":
            found.append((file.origin([key]), "without effect beside the mode", False))
        elif flag and flag.fate in ("passed", "unmodelled"):
            found.append((file.origin([key]), flag.why, flag.fate == "unmodelled"))
    whole = [(f"[{name}]", SECTIONS[name], False) for name in sections if name in SECTIONS]
    return grouped([*_told(found), *whole])


def _told(found: Sequence[tuple[str, str, bool]]) -> Iterator[tuple[str, str, bool]]:
    """Yield what is passed over but switches that are off: nothing is left out with them."""
    return (each for each in found if not (each[2] and each[0].endswith(" = false")))
