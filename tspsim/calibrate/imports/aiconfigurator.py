"""Rows of the package ``aiconfigurator-core``: operators that its authors timed on real devices."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tspsim.calibrate.imports import decode, experts
from tspsim.calibrate.imports.devices import device as load_device
from tspsim.calibrate.imports.versions import with_age
from tspsim.calibrate.kernels import rows
from tspsim.calibrate.kernels.rows import Asked, Measured
from tspsim.files.errors import UnknownNameError, UserError
from tspsim.files.extras import install
from tspsim.topology.hardware import Device
from tspsim.topology.tables import TableKind

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "aiconfigurator-core"

#: Shipped devices by what the package calls them.
DEVICES = {
    "a100-sxm-80gb": "a100_sxm", "h100-sxm": "h100_sxm", "h200-sxm": "h200_sxm",
    "b200-sxm": "b200_sxm", "gb200": "gb200",
}  # fmt: skip

#: By kind: the file's name, its folder in the package, and the columns of one shape.
_FILES: dict[TableKind, tuple[str, str, tuple[str, ...]]] = {
    "matmul": ("gemm", "gemm", ("m", "n", "k")),
    "attention": (
        "context_attention", "attention",
        ("batch_size", "num_heads", "num_key_value_heads", "isl", "head_dim"),
    ),
    "decode_attention": (
        "generation_attention", "attention",
        ("batch_size", "num_heads", "num_key_value_heads", "step", "head_dim"),
    ),
    "mla": ("context_mla", "mla", ("batch_size", "num_heads", "isl")),
    "decode_mla": ("generation_mla", "mla", ("batch_size", "num_heads", "step")),
    "grouped": ("moe", "moe", (*experts.SHAPE, "moe_dtype", "distribution", "kernel_source")),
}  # fmt: skip

#: What rows must say where they say anything: plain bf16, no window.
_PLAIN = {
    "attn_dtype": "bfloat16", "mla_dtype": "bfloat16", "kv_cache_dtype": "bfloat16",
    "window_size": 0, "beam_width": 1,
}  # fmt: skip

_DTYPES = {"bfloat16": "bf16", "fp8": "fp8"}

_ASKED: dict[str, Callable[..., Asked]] = {
    "attention": rows.attention, "decode_attention": decode.attention, "mla": rows.mla,
    "decode_mla": decode.latent,
}  # fmt: skip


def folder(given: Path | None) -> Path:
    """Return the folder to read: the given one, or the data of the installed package.

    Raises
    ------
    UserError
        When there is none, or the package is not installed.
    """
    if given is not None:
        if not given.is_dir():
            raise UserError(f"{given}: no such folder; the tables of {PACKAGE} are a folder")
        inner = [given / part for part in ("aiconfigurator_core/systems/data", "systems/data")]
        return next((path for path in inner if path.is_dir()), given)
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise UserError(f"{PACKAGE} is not installed: {install('kernels')}; or name its folder")
    return Path(spec.origin).parent / "systems" / "data"


def version(place: Path) -> str:
    """Return the version of the package whose folder it is; empty where nothing says it."""
    for above in place.parents:
        for found in sorted(above.glob("aiconfigurator_core-*.dist-info")):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
    return ""


def read(place: Path, device: str) -> Iterator[Measured]:
    """Yield the rows of every kind that a folder has of a shipped device.

    Raises
    ------
    UserError
        When there are none, or a file is not what it should be.
    """
    if device not in DEVICES:
        raise UnknownNameError("device with measured kernels", device, DEVICES)
    found, hardware = False, load_device(device)
    for kind, (name, inner, shape) in _FILES.items():
        frame = _frame(place, DEVICES[device], name, inner, shape)
        if frame is None:
            continue
        found = True
        if kind == "grouped":
            yield from experts.read(frame, hardware)
            continue
        for dtype in ("bf16", "fp8") if kind == "matmul" else ("bf16",):
            if len(part := _of_dtype(frame, dtype)):
                measured = _measured(kind, dtype, _one_each(part, list(shape)), shape)
                yield _CLEANED[kind](measured, hardware) if kind in _CLEANED else measured
    if not found:
        told = f"no tables of {DEVICES[device]}; expected are {DEVICES[device]}/gemm/... or "
        raise UserError(f"{place}: {told}gemm-{DEVICES[device]}.parquet")


def _frame(
    place: Path, device: str, name: str, inner: str, shape: tuple[str, ...]
) -> pd.DataFrame | None:
    import pandas as pd

    flat = place / f"{name.replace('_', '-')}-{device}.parquet"
    files = [flat] if flat.is_file() else []
    files = files or sorted((place / device / inner).glob(f"*/*/{name}_perf.parquet"))
    if not files:
        return None
    frames = []
    for path in files:
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a parquet table: {error}") from None
        if missing := {"framework", "version", "latency", *shape} - set(frame.columns):
            raise UserError(f"{path}: has no column {', '.join(sorted(missing))}")
        frames.append(frame)
    return _plain(pd.concat(frames, ignore_index=True))


def _plain(frame: Any) -> Any:
    for column, wanted in _PLAIN.items():
        if column in frame:
            frame = frame[frame[column].isna() | (frame[column] == wanted)]
    return frame[frame["latency"] > 0]


def _of_dtype(frame: Any, dtype: str) -> Any:
    return frame[frame["gemm_dtype"].map(_DTYPES) == dtype] if "gemm_dtype" in frame else frame


def _one_each(frame: Any, shape: list[str]) -> Any:
    """Return one row a library and shape: of its newest version, the fastest of its kernels."""
    ordered = with_age(frame).sort_values(
        ["_age", "latency"], ascending=[False, True], kind="stable"
    )
    return ordered.drop_duplicates(["framework", *shape])


def _measured(kind: TableKind, dtype: str, frame: Any, shape: tuple[str, ...]) -> Measured:
    columns = [frame[name].to_numpy(dtype=float) for name in shape]
    if kind == "matmul":
        asked = rows.matmul(*columns, itemsize=1 if dtype == "fp8" else 2)
    else:
        asked = _ASKED[kind](*columns)
    seconds = frame["latency"].to_numpy(dtype=float) * 1e-3
    return Measured(kind, dtype, asked, seconds, frame["framework"].to_numpy(dtype=np.str_))


def _without_cache(measured: Measured, hardware: Device) -> Measured:
    """Return attention without what serving adds to it: keys and values go into a cache.

    They are read and written once more. With that taken off, at `MOVED` of the stated bandwidth,
    a call takes as long with one key/value head as with as many as there are query heads, and as
    long as kernels whose times were published without a cache.
    """
    blocks, sequence, group, head_dim = measured.asked.place.T
    moved = 8 * blocks / group * sequence * head_dim
    alone = rows.without(measured, moved / (rows.MOVED * hardware.memory_bandwidth), hardware)
    return replace(alone, share=None)


#: What is done to the rows of a kind before a table is made of them.
_CLEANED: dict[TableKind, Callable[[Measured, Device], Measured]] = {
    "attention": _without_cache, "decode_attention": decode.alike, "decode_mla": decode.alike,
}  # fmt: skip


def source(place: Path, stated: str) -> str:
    """Return where the rows are from, in words."""
    release = stated or version(place) or "of a version that is not stated"
    return f"{PACKAGE} {release}: times of operators on the device, by its authors (Apache-2.0)"
