"""The keys of a scenario file, with their types, ranges and defaults.

``strategy`` and ``topology`` are plain mappings here: the strategy's own file says which options
it has, the topology's own generator which keys, and `tspsim.scenario.loader` asks them.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from tspsim.files.names import Name
from tspsim.files.units import Bytes, Seconds
from tspsim.kernels import (
    DEFAULT,
    PRESETS,
    SERVING,
    AllReduce,
    Attention,
    Fusion,
    Kernels,
    Loss,
    Preset,
    Recomputed,
)
from tspsim.latent import Latent
from tspsim.model import Causal, ModelShape, Optimizer, Phase, Recompute, Workload
from tspsim.routing import Routing
from tspsim.scenario.disturbances import DisturbancesKeys
from tspsim.scenario.experts import ExpertsKeys, RoutingKeys
from tspsim.scenario.inference import InferenceKeys, infers, with_requests
from tspsim.scenario.section import MOST, Count, Section

#: Bytes; what is more is meant to be something else.
PerParameter = Annotated[float, Field(ge=0, le=1024, allow_inf_nan=False)]
#: Of scores or logits; what is more caps nothing.
Cap = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Windows = Annotated[tuple[Count | None, ...], Field(strict=False, min_length=1, max_length=16384)]


def _form_of_window(given: Any) -> str:
    return "by layer" if isinstance(given, list | tuple) else "of all layers"


Window = Annotated[
    Annotated[Count | None, Tag("of all layers")] | Annotated[Windows, Tag("by layer")],
    Discriminator(_form_of_window),
]


class LatentKeys(Section):
    """``model.latent:`` — keys and values from one short vector a token (DeepSeek-V2)."""

    kv_rank: Count = Field(description="width of the latent of keys and values")
    nope: Count = Field(description="width of a head's queries and keys without positions")
    rope: Count = Field(description="width with positions; of keys it is one for all heads")
    value: Count = Field(description="width of a head's values")
    q_rank: Count | None = Field(
        None, description="width of the latent of queries (default: they have none)"
    )

    def shape(self) -> Latent:
        """Return the widths."""
        return Latent(**self.model_dump())


class ModelKeys(Section):
    """``model:`` — the shape of a dense decoder, after a ``hf:`` file was put in its place."""

    hidden: Count = Field(description="width of the residual stream")
    layers: Count = Field(description="number of decoder layers")
    heads: Count = Field(description="number of query heads")
    kv_heads: Count | None = Field(None, description="number of key/value heads (default: heads)")
    ffn: Count = Field(description="width of the MLP, of layers that have one")
    vocab: int = Field(
        ge=0, le=MOST, description="size of the vocabulary (0: no embedding, head and loss)"
    )
    head_dim: Count | None = Field(None, description="width of one head (default: hidden / heads)")
    mlp: Literal["gated", "plain"] = Field("gated", description="a gated MLP or GELU")
    gate: Literal["silu", "gelu"] = Field("silu", description="of a gated MLP: SwiGLU or GeGLU")
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_at: Literal["before", "behind", "both"] = Field(
        "before", description="norms of the blocks' inputs, of their outputs, or of both"
    )
    tied: bool = Field(False, description="the head uses the embedding's matrix")
    qkv_bias: bool = Field(False, description="query, key and value projections add a bias")
    attention_bias: bool = Field(False, description="all four projections of attention add one")
    mlp_bias: bool = Field(False, description="all matrices of the MLP add one")
    qk_norm: Literal["head", "whole", "plain"] | None = Field(
        None,
        description="queries and keys get a norm: every head, the whole projection, or every head "
        "with positions and without a weight",
    )
    window: Window = Field(
        None,
        description="keys that a query sees, its own included (default: all); a list: layer by "
        "layer, again from the first on where it ends",
    )
    rotary: Count | None = Field(
        None, description="elements of a head that positions turn (default: all)"
    )
    unturned: Count | None = Field(
        None, description="of so many layers the last has no positions (default: all have them)"
    )
    chunk: Count | None = Field(
        None,
        description="tokens of the blocks that attention does not look out of: no longer "
        "sequences are simulated (default: there are none)",
    )
    sinks: bool = Field(False, description="every softmax has one more score, a number per head")
    score_cap: Cap | None = Field(None, description="soft cap of attention's scores")
    logit_cap: Cap | None = Field(None, description="soft cap of the logits")
    scaled_embedding: bool = Field(
        False, description="embeddings are multiplied by the root of their width"
    )

    experts: ExpertsKeys | None = Field(None, description="a mixture of experts, in some layers")
    latent: LatentKeys | None = Field(
        None, description="latent attention: keys and values come from one vector a token"
    )

    def value(self) -> ModelShape:
        """Return the shape with its defaults filled in."""
        keys = self.model_dump()
        keys |= {"kv_heads": self.kv_heads or self.heads, "head_dim": self.head_dim or 0}
        keys["experts"] = self.experts.value(self.ffn) if self.experts else None
        keys["latent"] = self.latent and self.latent.shape()
        return ModelShape(**keys)


class StepKeys(Section):
    """Keys of ``workload:`` that every phase has, or those of training."""

    sequence: Count | None = Field(None, description="tokens of one sequence")
    batch: Count = Field(1, description="sequences per micro-batch and replica")
    micro_batches: Count = Field(1, description="micro-batches per step")
    phase: Phase = "train"
    dtype: Literal["bf16", "fp16", "fp32", "fp64"] = "bf16"
    linears: Literal["", "fp8"] = Field(
        "", description="what the matrix products of the layers multiply (default: dtype)"
    )
    recompute: Recompute = Field("none", description="what backward computes again")
    causal: Causal = Field("zigzag", description="causal mask and the order of tokens over ranks")
    logits_chunks: Count = Field(1, description="pieces in which head and loss run")
    routing: RoutingKeys | None = Field(
        None, description="how tokens spread over experts (default: balanced)"
    )


class WorkloadKeys(InferenceKeys, StepKeys):
    """``workload:`` — what one step processes."""

    def value(self, model: ModelShape) -> Workload:
        """Return the workload of a model."""
        keys = self.model_dump(exclude={"routing", *InferenceKeys.model_fields})
        keys["sequence"] = self.sequence or 1
        routing = self.routing.value(model) if self.routing else Routing()
        workload = Workload(**keys, routing=routing)
        return with_requests(self, workload) if infers(self.phase) else workload


class BytesPerParameter(BaseModel):
    """``optimizer.bytes_per_parameter:`` — any further name is one more resident state."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, PerParameter] = Field(init=False)

    weight: int = Field(2, ge=0, le=1024)
    gradient: int = Field(4, ge=0, le=1024)
    master: PerParameter = 4.0
    moments: PerParameter = 8.0


class KernelsKeys(Section):
    """``kernels:`` — which kernels a framework runs: a preset's name, or its parts."""

    preset: Preset = Field(DEFAULT, description="whose kernels those are that are not named here")
    attention: Attention | None = Field(None, description="unfused: scores stay in memory")
    softmax: Fusion | None = Field(None, description="separate: in fp32, of unfused attention")
    norm: Fusion | None = Field(None, description="separate: an RMSNorm of single tensor ops")
    activation: Fusion | None = Field(None, description="separate: silu and product apart")
    rotary: Fusion | None = Field(None, description="separate: rotate_half as it is written")
    dropout: bool | None = Field(None, description="masks behind embedding, blocks and softmax")
    loss: Loss | None = Field(None, description="fp32: every buffer of torch's cross-entropy")
    residual: Fusion | None = Field(
        None, description="separate: gradients of norm and stream are added by their own kernel"
    )
    accumulation: Fusion | None = Field(None, description="separate: dW is added by its own kernel")
    recomputed: Recomputed | None = Field(None, description="what recomputation leaves in memory")
    launch: Seconds | None = Field(None, description="time of every kernel beside its work")
    host: Seconds | None = Field(None, description="time to issue the forward of one layer")
    replayed: Seconds | None = Field(
        None,
        description="time of the smallest kernel of a replayed graph; 0: called from Python "
        "(default: in inference alone)",
    )
    pace: float | None = Field(
        None, gt=0, le=1, description="share of its kernels' speed at which a step runs"
    )
    all_reduce: AllReduce | None = Field(
        None, description="custom: the kernels of serving libraries; left out: in inference alone"
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return {"preset": data} if isinstance(data, str) else data

    def value(self) -> Kernels:
        """Return the preset with what is stated in its place."""
        stated = self.model_dump(exclude={"preset"}, exclude_none=True)
        return replace(PRESETS[self.preset], **stated)

    def document(self) -> dict[str, Any]:
        """Return every part of it, as keys that are read back as equal."""
        parts = asdict(self.value()) | {"preset": self.preset}
        keys = {key: parts[key] for key in KernelsKeys.model_fields}
        return self.model_construct(**keys).model_dump(mode="json")


class OptimizerKeys(Section):
    """``optimizer:`` — resident bytes per parameter."""

    kind: Name = Field("adamw", min_length=1, max_length=40, description="a name for reports")
    bytes_per_parameter: BytesPerParameter = BytesPerParameter()
    temporary: PerParameter = Field(
        0.0, description="bytes per parameter alive only during the optimizer step"
    )

    def value(self) -> Optimizer:
        """Return the optimizer; a state of 0 bytes is no state."""
        sizes: dict[str, Any] = self.bytes_per_parameter.model_dump()
        weight, gradient = sizes.pop("weight"), sizes.pop("gradient")
        states = tuple((name, float(size)) for name, size in sizes.items() if size)
        return Optimizer(self.kind, weight, gradient, states, self.temporary)


class MemoryKeys(Section):
    """``memory:`` — what a scenario says about its devices' memory."""

    reserved: Bytes | None = Field(
        None, description="kept by the runtime on every device, such as 2 GiB"
    )
    blas: Bytes | None = Field(None, description="workspace of a BLAS handle, such as 32 MiB")
    communicator: Bytes | None = Field(
        None, description="buffers of the collective library, for every communicator"
    )
    allocator: Literal["exact", "torch"] = Field(
        "exact", description="buffers take their own bytes, or segments of torch's allocator"
    )

    def stated(self) -> dict[str, float]:
        """Return what replaces the device's own, by its name there."""
        return self.model_dump(include={"reserved", "blas", "communicator"}, exclude_none=True)


class TimingKeys(Section):
    """``timing:`` — the constants that turn work into time."""

    profile: dict[str, Any] | None = Field(
        None, description="name, file or keys of a profile (default: the device's own)"
    )


class NetworkKeys(Section):
    """``network:`` — how collectives load the links."""

    detail: Literal["coflow", "steps"] = Field(
        "coflow", description="one coflow per collective, or every one of its sends"
    )
    sharing: Literal["fair", "fifo"] = Field(
        "fair", description="flows share a link max-min fairly, or it serves one after another"
    )
    algorithm: str = Field("auto", description="'auto', or the name of a collective algorithm")


class EngineKeys(Section):
    """``engine:`` — how much is simulated."""

    fold: Literal["auto", "off"] = Field("auto", description="simulate equal ranks once, or all")


class ScenarioKeys(Section):
    """A scenario file."""

    name: Name | None = Field(None, min_length=1, max_length=200, description="default: the file's")
    model: ModelKeys = Field(description="the model's shape, or {hf: a config.json}")
    workload: WorkloadKeys = Field(description="what one step processes")
    kernels: KernelsKeys = Field(KernelsKeys(), description="a preset's name, or its parts")
    optimizer: OptimizerKeys = OptimizerKeys()
    topology: dict[str, Any] = Field(description="{file: a topology}, or {kind: a generator, ...}")
    strategy: dict[str, Any] = Field(description="{kind: tsp, degree: 8}, for example")
    memory: MemoryKeys = MemoryKeys()
    timing: TimingKeys = TimingKeys()
    network: NetworkKeys = NetworkKeys()
    engine: EngineKeys = EngineKeys()
    disturbances: DisturbancesKeys | None = Field(None, description="what does not go to plan")

    @model_validator(mode="before")
    @classmethod
    def _served(cls, data: Any) -> Any:
        """Let a serving engine's kernels do what inference asks for, where nobody says whose."""
        workload = data.get("workload") if isinstance(data, dict) else None
        phase = workload.get("phase") if isinstance(workload, dict) else None
        stated = data.get("kernels", {}) if isinstance(data, dict) else None
        if isinstance(phase, str) and infers(phase) and isinstance(stated, dict):
            return {**data, "kernels": {"preset": SERVING, **stated}}
        return data

    def work(self) -> Workload:
        """Return what one step processes, and the kernels that do it."""
        return replace(self.workload.value(self.model.value()), kernels=self.kernels.value())
