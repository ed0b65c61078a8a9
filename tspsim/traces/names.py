"""What names in a trace stand for: kinds of compute, of communication, and neither."""

from __future__ import annotations

import re
from functools import lru_cache

#: Kinds of compute: the curves of a profile that the simulator times them by.
COMPUTE = ("matmul", "grouped", "attention", "attention_backward", "elementwise")

#: What is neither, and what it is called: none of it is in a simulation.
BOOKKEEPING, ISSUING, COPIES = "views, allocation", "issuing collectives", "memcpy, memset"

#: The first of these whose letters are in a name says which collective it is.
_COLLECTIVES = {
    "sendrecv": "shift", "reducescatter": "reduce_scatter", "allreduce": "all_reduce",
    "allgather": "all_gather", "alltoall": "all_to_all", "broadcast": "broadcast",
    "barrier": "barrier", "reduce": "reduce", "gather": "gather", "scatter": "scatter",
    "recv": "receive", "send": "send",
}  # fmt: skip

#: Ops that only make another view of what is there, or room for what will be.
_NO_WORK = frozenset({
    "alias", "as_strided", "chunk", "contiguous", "detach", "detach_", "diagonal", "empty",
    "empty_like", "empty_strided", "expand", "expand_as", "flatten", "is_nonzero", "item",
    "lift_fresh", "movedim", "narrow", "new_empty", "new_empty_strided", "permute",
    "promote_types", "reshape", "resize_", "resolve_conj", "resolve_neg", "result_type",
    "select", "set_", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "to",
    "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as",
    "_local_scalar_dense", "_reshape_alias", "_unsafe_view",
})  # fmt: skip

_ATTENTION = re.compile(
    r"attention|flash(?!infer)(?!_kernel)|fmha|sdpa|_mha_|kernel_mha\b|mla_decode|mla_prefill|mqa"
    r"|attn_(?:fwd|bwd)|bwd_(?:kernel_d[kqv]|preprocess)"  # Triton's and AOTriton's
    r"|(?:prefill|decode)with\w*kvcache|_fwd_(?:grouped_)?kernel_stage",  # FlashInfer, SGLang
    re.IGNORECASE,
)
_BACKWARD = re.compile(r"backward|bwd|bprop", re.IGNORECASE)
_GROUPED = re.compile(
    r"grouped_mm|grouped_?gemm|gemm_?grouped|group_gemm|fused_moe|matmul_ogs|marlin_moe"
    r"|groupproblemshape|moe_?fc_?gemm|gemmtype\)[123]\b|^bmm_.*dynbatch",
    re.IGNORECASE,
)
_PRODUCT = re.compile(
    r"gemm|gemv|nvjet|cublas|splitk|xmma|cijk|matmul|marlin|(?:^|_)(?:add|b)?mm(?:_|$)",
    re.IGNORECASE,
)
_PRODUCT_OPS = frozenset({
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "linear",
    "matmul", "_scaled_mm", "_int_mm", "mkldnn_linear", "convolution",
})  # fmt: skip


def collective(name: str) -> str | None:
    """Return the collective that a name is of, as `tspsim.program.types` calls it; None: of none.

    ``c10d::_allgather_base_``, ``gloo:all_gather`` and ``ncclDevKernel_AllGather_RING_LL`` are one.
    """
    letters = re.sub(r"[^a-z]", "", name.lower())
    return next((kind for key, kind in _COLLECTIVES.items() if key in letters), None)


#: Kernels beside NCCL's that communicate: all-reduces of serving libraries, rows of experts,
#: torch's symmetric memory, Transformer Engine's overlap.
_OTHERS = {
    re.compile(r"deep_ep::|moe_?all_?to_?all|mori::moe::ep|all_to_all_vdev", re.I): "all_to_all",
    re.compile(r"userbuffers_\w*_rs(?:_|\b)|reduce_?scatter_kernel", re.I): "reduce_scatter",
    re.compile(r"userbuffers_\w*_ag\b|all_?gather\w*_kernel", re.I): "all_gather",
    re.compile(r"userbuffers_pushsend", re.I): "send",
    re.compile(r"userbuffers_pushrecv", re.I): "receive",
    re.compile(r"all_?reduce|cross_device_reduce|userbuffers_\w*sum", re.I): "all_reduce",
}  # fmt: skip


@lru_cache(maxsize=4096)
def of_other_kernel(name: str) -> str | None:
    """Return the collective that a kernel of another library than NCCL is; None: it is none."""
    if name.startswith("triton_"):  # Inductor names what it fuses after the ops around it
        return None
    return next((kind for pattern, kind in _OTHERS.items() if pattern.search(name)), None)


@lru_cache(maxsize=4096)
def of_op(name: str) -> str:
    """Return the kind of an op of torch by its own name, whatever it calls."""
    short = name.rpartition("::")[2]
    if _ATTENTION.search(short):
        return "attention_backward" if _BACKWARD.search(short) else "attention"
    if _GROUPED.search(short):
        return "grouped"
    if short in _PRODUCT_OPS:
        return "matmul"
    return BOOKKEEPING if short in _NO_WORK else "elementwise"


@lru_cache(maxsize=4096)
def of_kernel(name: str) -> str | None:
    """Return the kind of a kernel of a GPU, where its name tells that it is no element-wise one."""
    if name.startswith("triton_") and not name.startswith("triton_tem"):
        return None
    if _ATTENTION.search(name):
        return "attention_backward" if _BACKWARD.search(name) else "attention"
    if _GROUPED.search(name):
        return "grouped"
    return "matmul" if _PRODUCT.search(name) else None


#: Where an op calls others, the first of these that is among them says what it is.
ORDER = ("attention_backward", "attention", "grouped", "matmul", "elementwise", BOOKKEEPING)

_SIZES = {
    "double": 8, "float64": 8, "long": 8, "longint": 8, "int64": 8, "float": 4, "float32": 4,
    "int": 4, "int32": 4, "bfloat16": 2, "half": 2, "float16": 2, "short": 2, "int16": 2,
    "char": 1, "byte": 1, "bool": 1, "unsignedchar": 1, "signedchar": 1, "int8": 1, "uint8": 1,
}  # fmt: skip


def itemsize(dtype: object) -> int | None:
    """Return the bytes of an element of a type as a trace calls it; None: it is not known."""
    text = re.sub(r"[^a-z0-9]", "", str(dtype).lower().removeprefix("c10::"))
    return 1 if text.startswith("float8") else _SIZES.get(text)
