"""The shape of a dense decoder and of the work asked of it: frozen values and exact counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tspsim.kernels import CHUNKS, IDEAL, Kernels
from tspsim.latent import Latent

Phase = Literal["forward", "train"]
Recompute = Literal["none", "selective", "full"]
Causal = Literal["zigzag", "contiguous", "off"]

#: Bytes of one element.
ITEMSIZE = {"fp8": 1, "bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a pre-norm decoder with rotary positions.

    Parameters
    ----------
    hidden, layers, heads, kv_heads, ffn, vocab : int
        Widths and counts. ``vocab = 0`` leaves out embedding, final norm, head and loss.
    head_dim : int, optional
        Width of one head; ``hidden / heads`` when not given.
    mlp : {"gated", "plain"}
        SwiGLU (three matrices) or GELU (two).
    norm : {"rmsnorm", "layernorm"}
        LayerNorm has a weight and a bias, RMSNorm a weight.
    tied : bool
        The head uses the embedding's matrix.
    qkv_bias : bool
        The query, key and value projections add a bias (Qwen2.5).
    attention_bias : bool
        All four projections of attention do (Hugging Face's key of this name).
    mlp_bias : bool
        All matrices of the MLP do.
    window : int or None
        Keys that a query sees in every layer: its own and those before it (Mistral-7B-v0.1).
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
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    tied: bool = False
    qkv_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    window: int | None = None
    latent: Latent | None = None

    def __post_init__(self) -> None:
        if not self.head_dim:
            head_dim = self.latent.head if self.latent else self.hidden // self.heads
            object.__setattr__(self, "head_dim", head_dim)

    @property
    def value_dim(self) -> int:
        """Width of one head's values: that of its keys, unless they come from a latent."""
        return self.latent.value if self.latent else self.head_dim

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
        """Elements of the MLP's matrices of one layer: 3 F h^2 gated, 2 F h^2 plain."""
        return (3 if self.mlp == "gated" else 2) * self.hidden * self.ffn

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
        """Elements of the biases of one layer."""
        qkv = (self.query_width + 2 * self.kv_width) * self.biased_inputs
        columns = (2 if self.mlp == "gated" else 1) * self.ffn
        return qkv + self.hidden * self.attention_bias + (columns + self.hidden) * self.mlp_bias

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, norms and biases included."""
        norms = 2 * self.norm_parameters + self.latent_norms
        return self.attention_weights + self.mlp_weights + self.biases + norms

    @property
    def parameters(self) -> int:
        """Parameters of the whole model (Llama-3-8B: 8,030,261,248)."""
        if not self.vocab:
            return self.layers * self.layer_parameters
        tables = 1 if self.tied else 2
        outer = tables * self.vocab * self.hidden + self.norm_parameters
        return self.layers * self.layer_parameters + outer


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
    phase : {"forward", "train"}
        Forward alone, or forward, backward and optimizer step.
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
    linears : str
        What the matrix products of the layers multiply, where that is narrower than `dtype`.
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

    @property
    def loss_chunks(self) -> int:
        """Pieces in which head and loss run."""
        chunked = self.kernels.loss == "chunked" and self.logits_chunks == 1
        return CHUNKS if chunked else self.logits_chunks

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


def twice_attention_pairs(workload: Workload, window: int | None = None) -> int:
    """Return twice the (query, key) pairs of one sequence that count: 2 S^2, or S^2 causal.

    A window of W leaves out the pairs W and more apart: S^2 - (S - W)^2.

    A causal mask counts half of the square, the diagonal half: the convention in which
    FlashAttention (arXiv 2307.08691) and Megatron-LM report flop/s. Twice, so that it is whole.
    """
    s = workload.sequence
    beyond = max(s - window, 0) if window else 0
    return 2 * s * s if workload.causal == "off" else s * s - beyond * beyond


def forward_flops(model: ModelShape, workload: Workload) -> int:
    """Return the matrix and attention flops of one forward pass over all micro-batches.

    Two flops per multiply-add; 2 * pairs * (width of a key + width of a value) per head in
    attention (scores and weighted sum), see `twice_attention_pairs`. Element-wise work counts as
    0, as in
    the PaLM paper's appendix B (arXiv 2204.02311) and torch's FlopCounterMode.
    """
    weights = model.layers * (model.attention_weights + model.mlp_weights)
    matmul = 2 * workload.tokens * (weights + model.vocab * model.hidden)
    sequences = workload.batch * workload.micro_batches
    pairs = twice_attention_pairs(workload, model.window)
    widths = model.heads * (model.head_dim + model.value_dim)
    attention = pairs * widths * model.layers * sequences
    return matmul + attention


def model_flops(model: ModelShape, workload: Workload) -> int:
    """Return the flops that MFU counts: forward, plus twice that for backward when training.

    Recomputation is not counted (it is in HFU). Attention's backward counts twice its forward
    here, by the same convention; flash attention performs 2.5 times, which HFU sees.
    """
    return forward_flops(model, workload) * (3 if workload.phase == "train" else 1)
