"""The shape of a decoder and of the work asked of it: frozen values and exact counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from tspsim.experts import Experts
from tspsim.kernels import CHUNKS, IDEAL, Kernels
from tspsim.latent import Latent
from tspsim.layer_kind import LayerKind
from tspsim.requests import AS_IT_IS, Requests, Series, WeightForm
from tspsim.routing import BALANCED, Routing

Phase = Literal["forward", "train", "prefill", "decode", "generate"]
Recompute = Literal["none", "selective", "full"]
Causal = Literal["zigzag", "contiguous", "off"]

#: Bytes of one element.
ITEMSIZE = {"fp8": 1, "bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder with rotary positions.

    Parameters
    ----------
    hidden, layers, heads, kv_heads, ffn, vocab : int
        Widths and counts. ``vocab = 0`` leaves out embedding, final norm, head and loss.
    head_dim : int, optional
        Width of one head; ``hidden / heads`` when not given.
    mlp : {"gated", "plain"}
        A gated MLP (three matrices) or GELU (two).
    gate : {"silu", "gelu"}
        What a gate is put through: SwiGLU or GeGLU (Gemma).
    norm : {"rmsnorm", "layernorm"}
        LayerNorm has a weight and a bias, RMSNorm a weight.
    norm_at : {"before", "behind", "both"}
        Norms of the input of each block, of its output before it is added to the stream (OLMo-2),
        or of both (Gemma-2).
    tied : bool
        The head uses the embedding's matrix.
    qkv_bias : bool
        The query, key and value projections add a bias (Qwen2.5).
    attention_bias : bool
        All four projections of attention do (Hugging Face's key of this name).
    mlp_bias : bool
        All matrices of the MLP do.
    qk_norm : {"head", "whole", "plain"} or None
        Queries and keys get a norm before their positions: of every head by itself (Qwen3), with
        one weight for all heads; of the whole projection (OLMo-2); or of every head that gets
        positions, without a weight (Llama-4).
    window : int or None, or tuple of them
        Keys that a query sees: its own and those before it (Mistral-7B-v0.1); None: all. Of
        several, one layer after another has one, again from the first on where they end: ``(4096,
        None)`` is local and global layers in turn (Gemma-2).
    rotary : int or None
        Elements of a head that positions turn, its first ones (Phi-4-mini); None: all.
    unturned : int or None
        Of so many layers the last one has no positions (Llama-4); None: all have them.
    chunk : int or None
        Tokens of the blocks that attention does not look out of (Llama-4): no more are simulated.
    sinks : bool
        Every softmax has one more score, of no key: a number per head (gpt-oss).
    score_cap, logit_cap : float or None
        Scores of attention, and the logits, are ``cap * tanh(x / cap)`` (Gemma-2).
    scaled_embedding : bool
        Embeddings are multiplied by the root of their width (Gemma).
    experts : Experts or None
        What some layers have instead of the MLP, or all of them.
    latent : Latent or None
        Keys and values come from a latent; every head has its own, of the widths that it says.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = 0
    head_dim: int = 0
    mlp: Literal["gated", "plain"] = "gated"
    gate: Literal["silu", "gelu"] = "silu"
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_at: Literal["before", "behind", "both"] = "before"
    tied: bool = False
    qkv_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    qk_norm: Literal["head", "whole", "plain"] | None = None
    window: int | tuple[int | None, ...] | None = None
    rotary: int | None = None
    unturned: int | None = None
    chunk: int | None = None
    sinks: bool = False
    score_cap: float | None = None
    logit_cap: float | None = None
    scaled_embedding: bool = False
    experts: Experts | None = None
    latent: Latent | None = None

    def __post_init__(self) -> None:
        if not self.head_dim:
            head_dim = self.latent.head if self.latent else self.hidden // self.heads
            object.__setattr__(self, "head_dim", head_dim)

    @property
    def value_dim(self) -> int:
        """Width of one head's values: that of its keys, unless they come from a latent."""
        return self.latent.value if self.latent else self.head_dim

    # ---- the kinds of its layers -------------------------------------------------------------

    def kind(self, layer: int) -> LayerKind:
        """Return all in which a layer differs from others."""
        windows = self.window if isinstance(self.window, tuple) else (self.window,)
        positions = not self.unturned or (layer + 1) % self.unturned != 0
        experts = self.experts_in(layer) is not None
        return LayerKind(windows[layer % len(windows)], experts, positions)

    @property
    def kinds(self) -> dict[LayerKind, int]:
        """How many layers there are of every kind, in the order of their first ones."""
        return Counter(map(self.kind, range(self.layers)))

    def alike(self, kind: LayerKind) -> ModelShape:
        """Return a shape with as many layers, all of one kind."""
        experts = self.experts if kind.experts else None
        if experts is not None:
            experts = replace(experts, first_dense=0, every=1)
        unturned = None if kind.positions else 1
        return replace(self, window=kind.window, experts=experts, unturned=unturned)

    # ---- widths and counts -------------------------------------------------------------------

    @property
    def query_width(self) -> int:
        """Columns of Wq; where values are as wide as keys, rows of Wo."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of Wk and of Wv."""
        return self.kv_heads * self.head_dim

    @property
    def attended(self) -> int:
        """Elements of one token's keys and values of all heads."""
        return self.kv_heads * (self.head_dim + self.value_dim)

    @property
    def attention_weights(self) -> int:
        """Elements of Wq, Wk, Wv and Wo of one layer: (2 + 2/g) h^2 when head_dim = h / heads.

        With latent attention those of the ways down, and up, and of Wo.
        """
        if self.latent:
            shapes = self.latent.matrices(self.hidden, self.heads).values()
            return sum(rows * columns for rows, columns in shapes)
        return 2 * self.hidden * (self.query_width + self.kv_width)

    @property
    def mlp_weights(self) -> int:
        """Elements of a dense layer's MLP: 3 F h^2 gated, 2 F h^2 plain."""
        return self.mlp_matrices * self.hidden * self.ffn

    @property
    def mlp_matrices(self) -> int:
        """Matrices of an MLP, or of one expert."""
        return 3 if self.mlp == "gated" else 2

    def experts_in(self, layer: int) -> Experts | None:
        """Return the experts of a layer; None where it has an MLP."""
        return self.experts if self.experts and self.experts.in_layer(layer) else None

    def second_weights(self, kind: LayerKind, *, active: bool = False) -> int:
        """Return the elements of a layer's matrices behind attention: the MLP's or the experts'.

        Parameters
        ----------
        kind : LayerKind
        active : bool
            Those that a token meets.
        """
        if not kind.experts or self.experts is None:
            return self.mlp_weights
        count = self.experts.active_matrices if active else self.experts.matrices
        return count(self.hidden, self.mlp_matrices)

    def norm_elements(self, width: int) -> int:
        """Return the elements of a norm over so many columns."""
        return width * (2 if self.norm == "layernorm" else 1)

    @property
    def norm_parameters(self) -> int:
        """Elements of one norm of the residual stream."""
        return self.norm_elements(self.hidden)

    @property
    def latent_norms(self) -> int:
        """Elements of the norms of one layer's latents, if it has any."""
        widths = self.latent.norms.values() if self.latent else ()
        return sum(map(self.norm_elements, widths))

    @property
    def biased_inputs(self) -> bool:
        """Whether query, key and value projections add a bias."""
        return self.qkv_bias or self.attention_bias

    @property
    def biases(self) -> int:
        """Elements of the biases of one dense layer."""
        qkv = (self.query_width + 2 * self.kv_width) * self.biased_inputs
        columns = (2 if self.mlp == "gated" else 1) * self.ffn
        return qkv + self.hidden * self.attention_bias + (columns + self.hidden) * self.mlp_bias

    @property
    def qk_norm_widths(self) -> tuple[int, int]:
        """Elements of queries, and of keys, that a norm of theirs is over; none without one."""
        if self.qk_norm == "whole":
            return self.query_width, self.kv_width
        return (self.head_dim, self.head_dim) if self.qk_norm == "head" else (0, 0)

    @property
    def norm_weights(self) -> int:
        """Elements of all norms of one layer."""
        vectors = 2 if self.norm == "layernorm" else 1
        blocks = 4 if self.norm_at == "both" else 2
        inside = vectors * sum(self.qk_norm_widths) + self.latent_norms
        return blocks * self.norm_parameters + inside

    def kind_parameters(self, kind: LayerKind, *, active: bool = False) -> int:
        """Return the parameters of one layer of a kind, norms and biases included.

        Parameters
        ----------
        kind : LayerKind
        active : bool
            Those that a token meets.
        """
        count = self.attention_weights + self.second_weights(kind, active=active)
        if kind.experts and self.experts:
            count += self.experts.vectors(self.hidden, self.mlp_matrices, active=active)
        return count + self.biases + self.norm_weights + self.sinks * self.heads

    def layer_parameters_of(self, layer: int) -> int:
        """Return the parameters of one layer."""
        return self.kind_parameters(self.kind(layer))

    def stack_parameters(self, *, active: bool = False) -> int:
        """Return the parameters of all layers, or those that a token meets."""
        kinds = self.kinds.items()
        return sum(times * self.kind_parameters(kind, active=active) for kind, times in kinds)

    @property
    def parameters(self) -> int:
        """Parameters of the whole model (Llama-3-8B: 8,030,261,248)."""
        return self._parameters(active=False)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets, embedding and head included."""
        return self._parameters(active=True)

    def _parameters(self, *, active: bool) -> int:
        if not self.vocab:
            return self.stack_parameters(active=active)
        tables = 1 if self.tied else 2
        outer = tables * self.vocab * self.hidden + self.norm_parameters
        return self.stack_parameters(active=active) + outer


@dataclass(frozen=True, slots=True)
class Workload:
    """What one replica of the model processes in one step: a job has `dp` times as many tokens.

    Parameters
    ----------
    sequence : int
        Tokens of one sequence.
    batch : int
        Sequences per micro-batch.
    micro_batches : int
        Micro-batches per step: their gradients add up before the one optimizer step.
    phase : {"forward", "train", "prefill", "decode", "generate"}
        Forward alone, or forward, backward and optimizer step; or a step of inference, with a
        cache of keys and values: of prompts, of one more token each, or the last of both.
    dtype : str
        Type of activations and messages; a key of `ITEMSIZE`.
    recompute : {"none", "selective", "full"}
        What backward recomputes: nothing, the attention core, or the whole layer.
    causal : {"zigzag", "contiguous", "off"}
        Causal mask, and how a sharded sequence is laid out over ranks; ``off`` has no mask.
    logits_chunks : int
        The head and its loss run over this many pieces of the tokens, one after another.
    kernels : Kernels
        What it is run with.
    routing : Routing
        How tokens spread over experts, where there are any.
    linears : str
        What the matrix products of the layers multiply, where that is narrower than `dtype`.
    requests : Requests or None
        The sequences of a step of inference: it works on their new tokens side by side, as one
        sequence of all of them.
    series : Series or None
        The steps of which it is the last.
    weights : WeightForm
        What matrices are kept in, and multiply, in a step of inference.
    """

    sequence: int
    batch: int = 1
    micro_batches: int = 1
    phase: Phase = "train"
    dtype: str = "bf16"
    recompute: Recompute = "none"
    causal: Causal = "zigzag"
    logits_chunks: int = 1
    linears: str = ""
    kernels: Kernels = IDEAL
    routing: Routing = BALANCED
    requests: Requests | None = None
    series: Series | None = None
    weights: WeightForm = AS_IT_IS

    @property
    def loss_chunks(self) -> int:
        """Pieces in which head and loss run."""
        chunked = self.kernels.loss == "chunked" and self.logits_chunks == 1
        return CHUNKS if chunked else self.logits_chunks

    def of(self, requests: Requests) -> Workload:
        """Return a step of inference on other sequences."""
        return replace(self, requests=requests, sequence=requests.new, batch=1)

    def within(self, series: Series) -> Workload:
        """Return it as the last step of several."""
        return replace(self, series=series)

    @property
    def itemsize(self) -> int:
        """Bytes of one activation element."""
        return ITEMSIZE[self.dtype]

    @property
    def tokens(self) -> int:
        """Tokens of one step of one replica."""
        return self.sequence * self.batch * self.micro_batches


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Resident bytes per parameter, and what the optimizer step needs on top while it runs.

    Parameters
    ----------
    kind : str
        Name for reports.
    weight, gradient : int
        Bytes per parameter of the weights and of the gradients that micro-batches add up in.
    states : tuple of (str, float)
        Further resident bytes per parameter, by name: master weights, moments...
    temporary : float
        Bytes per parameter alive only during the optimizer step.
    """

    kind: str = "adamw"
    weight: int = 2
    gradient: int = 4
    states: tuple[tuple[str, float], ...] = field(default=(("master", 4.0), ("moments", 8.0)))
    temporary: float = 0.0
