"""The shape of a decoder and of the work asked of it: frozen values and exact counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tspsim.experts import Experts
from tspsim.kernels import CHUNKS, IDEAL, Kernels
from tspsim.routing import BALANCED, Routing

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
    experts : Experts or None
        What some layers have instead of the MLP, or all of them.
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
    experts: Experts | None = None

    def __post_init__(self) -> None:
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden // self.heads)

    @property
    def query_width(self) -> int:
        """Columns of Wq, rows of Wo."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of Wk and of Wv."""
        return self.kv_heads * self.head_dim

    @property
    def attention_weights(self) -> int:
        """Elements of Wq, Wk, Wv and Wo of one layer: (2 + 2/g) h^2 when head_dim = h / heads."""
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

    def mlp_weights_of(self, layer: int, *, active: bool = False) -> int:
        """Return the elements of a layer's matrices behind attention: the MLP's or the experts'.

        Parameters
        ----------
        layer : int
        active : bool
            Those that a token meets.
        """
        experts = self.experts_in(layer)
        if experts is None:
            return self.mlp_weights
        count = experts.active_matrices if active else experts.matrices
        return count(self.hidden, self.mlp_matrices)

    @property
    def norm_parameters(self) -> int:
        """Elements of one norm."""
        return self.hidden * (2 if self.norm == "layernorm" else 1)

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

    def layer_parameters_of(self, layer: int, *, active: bool = False) -> int:
        """Return the parameters of one layer, norms and biases included; or the active ones.

        A router's correction, a number per expert, is a parameter (DeepSeek-V3).
        """
        count = self.attention_weights + self.mlp_weights_of(layer, active=active) + self.biases
        experts = self.experts_in(layer)
        if experts is not None and experts.router.correction:
            count += experts.count
        return count + 2 * self.norm_parameters

    @property
    def parameters(self) -> int:
        """Parameters of the whole model (Llama-3-8B: 8,030,261,248)."""
        return self._parameters(active=False)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets, embedding and head included."""
        return self._parameters(active=True)

    def _parameters(self, *, active: bool) -> int:
        layers = sum(self.layer_parameters_of(i, active=active) for i in range(self.layers))
        if not self.vocab:
            return layers
        tables = 1 if self.tied else 2
        return layers + tables * self.vocab * self.hidden + self.norm_parameters


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
    routing : Routing
        How tokens spread over experts, where there are any.
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
    routing: Routing = BALANCED

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

    Two flops per multiply-add, of experts those that a token goes to; 4 * pairs * head_dim per
    head in attention (scores and weighted sum), see `twice_attention_pairs`. Element-wise work
    counts as 0, as in the PaLM paper's appendix B (arXiv 2204.02311) and torch's FlopCounterMode.
    """
    mlps = sum(model.mlp_weights_of(layer, active=True) for layer in range(model.layers))
    weights = model.layers * model.attention_weights + mlps
    matmul = 2 * workload.tokens * (weights + model.vocab * model.hidden)
    sequences = workload.batch * workload.micro_batches
    pairs = twice_attention_pairs(workload, model.window)
    attention = 2 * pairs * model.query_width * model.layers * sequences
    return matmul + attention


def model_flops(model: ModelShape, workload: Workload) -> int:
    """Return the flops that MFU counts: forward, plus twice that for backward when training.

    Recomputation is not counted (it is in HFU). Attention's backward counts twice its forward
    here, by the same convention; flash attention performs 2.5 times, which HFU sees.
    """
    return forward_flops(model, workload) * (3 if workload.phase == "train" else 1)
