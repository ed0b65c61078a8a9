"""A scenario as flags of Megatron-LM: those that differ from its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tspsim.model import ITEMSIZE, ModelShape
from tspsim.scenario.interop.megatron_mesh import EXCHANGES, SHARED
from tspsim.scenario.interop.megatron_stages import CHUNKS, EMBEDDING, FIRST, GROUP, LAST, LOSS
from tspsim.scenario.interop.megatron_step import BACKENDS, PARTS
from tspsim.scenario.types import Scenario
from tspsim.strategies.base import StrategyOptions

#: A flag and its values; True: it takes none and is given; None and False: it is not.
Flags = Iterator[tuple[str, Any]]


def written(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """Return the flags; whether they say all of the scenario shows when they are read back."""
    tp = degrees(scenario.strategy)[0]
    made = [
        *_model(scenario.model, tp),
        *_attention(scenario.model),
        *_workload(scenario),
        *_kernels(scenario),
        *_optimizer(scenario),
        *_axes(scenario.strategy),
        *_sharing(scenario),
        *_pipeline(scenario),
        *_experts(scenario.model),
        *_spread(scenario),
    ]
    return {flag: _texts(value) for flag, value in made if value is not None and value is not False}


def _texts(value: Any) -> tuple[str, ...]:
    values = () if value is True else value if isinstance(value, list | tuple) else (value,)
    return tuple(f"{each:g}" if isinstance(each, float) else str(each) for each in values)


def degrees(strategy: StrategyOptions) -> tuple[int, int]:
    """Return the degrees of tensor and context parallelism."""
    axes = dict(strategy.axes())
    return axes.get("tp", 1), axes.get("sp", 1)


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _model(model: ModelShape, tp: int) -> Flags:
    yield "num-layers", model.layers
    yield "hidden-size", model.hidden
    yield "ffn-hidden-size", model.ffn
    yield "num-attention-heads", model.heads
    grouped = model.latent is None and model.kv_heads != model.heads
    yield "group-query-attention", grouped
    yield "num-query-groups", model.kv_heads if grouped else None
    own = model.latent is None and model.head_dim * model.heads != model.hidden
    yield "kv-channels", model.head_dim if own else None
    yield "vocab-size", model.vocab
    yield "make-vocab-size-divisible-by", 1 if model.vocab % (128 * tp) else None
    yield "normalization", "RMSNorm" if model.norm == "rmsnorm" else None
    gated = model.mlp == "gated"
    yield "swiglu", gated and model.gate == "silu"
    yield "quick-geglu", gated and model.gate == "gelu"
    yield "untie-embeddings-and-output-weights", not model.tied
    yield "disable-bias-linear", not model.mlp_bias
    yield "add-qkv-bias", model.qkv_bias


def _attention(model: ModelShape) -> Flags:
    yield "position-embedding-type", "rope"
    yield "rotary-percent", model.rotary / model.head_dim if model.rotary else None
    yield "no-rope-freq", model.unturned
    yield "qk-layernorm", model.qk_norm == "head"
    yield "qk-l2-norm", model.qk_norm == "plain"
    windows = model.window if isinstance(model.window, tuple) else (model.window,)
    if windows[0]:
        yield "window-size", f"{windows[0] - 1},0"
        yield "window-attn-skip-freq", len(windows) if len(windows) > 1 else None
    yield "softmax-type", "learnable" if model.sinks else None
    if model.latent:
        yield "multi-latent-attention", True
        yield "q-lora-rank", model.latent.q_rank
        yield "kv-lora-rank", model.latent.kv_rank
        yield "qk-head-dim", model.latent.nope
        yield "qk-pos-emb-head-dim", model.latent.rope
        yield "v-head-dim", model.latent.value


def _workload(scenario: Scenario) -> Flags:
    work = scenario.workload
    yield "seq-length", work.sequence
    yield "max-position-embeddings", work.sequence
    yield "micro-batch-size", work.batch
    yield "global-batch-size", work.batch * work.micro_batches * scenario.strategy.dp
    yield "bf16", work.dtype == "bf16"
    yield "fp16", work.dtype == "fp16"
    yield "fp8-format", "hybrid" if work.linears else None
    yield "recompute-granularity", _unless(work.recompute, "none")
    yield "recompute-method", "uniform" if work.recompute == "full" else None
    yield "recompute-num-layers", 1 if work.recompute == "full" else None


def _kernels(scenario: Scenario) -> Flags:
    kernels = scenario.workload.kernels
    backends = {ours: theirs for theirs, ours in reversed(BACKENDS.items())}
    # What Transformer Engine takes of its own accord is cuDNN's.
    yield "attention-backend", _unless(backends.get(kernels.attention), "fused")
    unfused = kernels.attention == "unfused"
    yield "no-masked-softmax-fusion", unfused and kernels.softmax == "separate"
    for flag, (part, value) in PARTS.items():
        yield flag, getattr(kernels, part) == value
    yield "attention-dropout", None if kernels.dropout else 0.0
    yield "hidden-dropout", None if kernels.dropout else 0.0


def _optimizer(scenario: Scenario) -> Flags:
    optimizer, dtype = scenario.optimizer, scenario.workload.dtype
    states = dict(optimizer.states)
    yield "optimizer", _unless({"adamw": "adam"}.get(optimizer.kind, optimizer.kind), "adam")
    narrow = optimizer.gradient == 2
    yield "grad-reduce-in-bf16", narrow and dtype == "bf16"
    yield "accumulate-allreduce-grads-in-fp32", not narrow and dtype == "fp16"
    yield "main-params-dtype", "fp16" if states.get("master") == 2 else None
    each = states.get("moments", 0) / (2 if optimizer.kind == "adamw" else 1)
    narrower = {ITEMSIZE[name]: name for name in ("fp32", "bf16", "fp8")}.get(int(each), "fp32")
    yield "exp-avg-dtype", _unless(narrower, "fp32")
    yield "exp-avg-sq-dtype", _unless(narrower, "fp32") if optimizer.kind == "adamw" else None


def _axes(strategy: StrategyOptions) -> Flags:
    tp, cp = degrees(strategy)
    yield "tensor-model-parallel-size", _unless(tp, 1)
    yield "sequence-parallel", getattr(strategy, "sequence_parallel", False)
    yield "context-parallel-size", _unless(cp, 1)
    if cp > 1:
        kv = getattr(strategy, "kv", "ring")
        yield "cp-comm-type", next(theirs for theirs, ours in EXCHANGES.items() if ours == kv)
        if near := getattr(strategy, "ulysses_degree", None):
            yield "hierarchical-context-parallel-sizes", (near, cp // near)
    placed = strategy.placement or ()
    outside = placed[-1:] == ("dp",) and strategy.pp is not None
    yield "use-tp-pp-dp-mapping", outside


def _sharing(scenario: Scenario) -> Flags:
    strategy, optimizer = scenario.strategy, scenario.optimizer
    yield "use-distributed-optimizer", strategy.zero == 1
    yield "use-torch-fsdp2", strategy.zero == 3
    yield "torch-fsdp2-no-reshard-after-forward", strategy.reshard is False
    yield "use-megatron-fsdp", strategy.zero == 2
    shared = next(theirs for theirs, ours in SHARED.items() if ours == strategy.zero)
    yield "data-parallel-sharding-strategy", shared if strategy.zero == 2 else None
    early = strategy.overlap_gradients
    if strategy.zero < 2 and (strategy.zero == 0 if early is None else early):
        yield "overlap-grad-reduce", True
        elements = int(strategy.bucket // optimizer.gradient)
        default = max(40_000_000, 1_000_000 * strategy.dp * degrees(strategy)[1])
        yield "ddp-bucket-size", _unless(elements, default)
    yield "overlap-param-gather", strategy.overlap_weights
    copies = strategy.dp // strategy.shard.degree if strategy.shard else None
    yield "num-distributed-optimizer-instances", copies
    yield "optimizer-cpu-offload", strategy.offload is not None


def _pipeline(scenario: Scenario) -> Flags:
    pipeline = scenario.strategy.pp
    if pipeline is None:
        return
    many = pipeline.chunk_count
    yield "pipeline-model-parallel-size", pipeline.stages
    yield CHUNKS, _unless(many, 1)
    schedule = pipeline.schedule
    group = schedule.get("group_size") if isinstance(schedule, dict) else None
    yield GROUP, _unless(group, pipeline.stages)
    yield "no-overlap-p2p-communication", many > 1 and not pipeline.overlap
    depth = pipeline.stages * many
    even = scenario.model.layers % depth == 0
    split = pipeline.layers if isinstance(pipeline.layers, tuple) else None
    if split is None or len(split) != depth:
        yield EMBEDDING, not even
        yield LOSS, not even
    elif many == 1:
        yield FIRST, split[0]
        yield LAST, split[-1]
    else:
        yield EMBEDDING, split[0] < split[1]
        yield LOSS, split[-1] < split[1]


def _experts(model: ModelShape) -> Flags:
    experts = model.experts
    if experts is None:
        return
    router = experts.router
    yield "num-experts", experts.count
    yield "moe-router-topk", _unless(experts.active, 2)
    yield "moe-ffn-hidden-size", _unless(experts.width, model.ffn)
    yield "moe-shared-expert-intermediate-size", _unless(experts.shared, 0)
    dense = experts.first_dense
    pattern = f"([0]*{dense}+[1]*{model.layers - dense})"
    yield "moe-layer-freq", pattern if dense else None
    yield "moe-router-score-function", _unless(router.score, "softmax")
    yield "moe-router-pre-softmax", router.score == "softmax" and not router.normalise
    yield "moe-router-num-groups", _unless(router.groups, 1)
    yield "moe-router-group-topk", router.top_groups if router.groups > 1 else None
    yield "moe-router-topk-scaling-factor", _unless(router.scale, 1)
    yield "moe-router-enable-expert-bias", router.correction
    yield "moe-aux-loss-coeff", _unless(router.balance_loss, 0)
    yield "moe-z-loss-coeff", _unless(router.z_loss, 0)


def _spread(scenario: Scenario) -> Flags:
    if scenario.model.experts is None:
        return
    strategy, spread = scenario.strategy, scenario.strategy.spread
    yield "moe-expert-capacity-factor", scenario.workload.routing.capacity
    axes = dict(strategy.axes())
    over = tuple(axes) if spread.over is None else spread.over
    ways = 1 if spread.layout == "tensor" else spread.degree
    if ways is None:
        ways = strategy.dp if "dp" in over else 1
        for name in over:
            ways *= axes.get(name, 1)
    yield "expert-model-parallel-size", _unless(ways, 1)
    whole = spread.layout == "tokens" and not spread.cut and axes.get("tp", 1) > 1
    yield "expert-tensor-parallel-size", 1 if whole else None
    yield "moe-enable-deepep", spread.once is not None
    yield "overlap-moe-expert-parallel-comm", spread.overlap == "forward_backward"
