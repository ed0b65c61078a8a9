"""The matrix and attention flops that a step of a model takes, whatever it is run on."""

from __future__ import annotations

from tspsim.model import ModelShape, Workload
from tspsim.requests import Request, Requests


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

    Two flops per multiply-add, of experts those that a token goes to; 2 * pairs * (width of a key
    + width of a value) per head in attention (scores and weighted sum), see
    `twice_attention_pairs`. Element-wise work counts as 0, as in the PaLM paper's appendix B (arXiv
    2204.02311) and torch's FlopCounterMode.
    """
    if workload.requests:
        return _inference_flops(model, workload, workload.requests)
    seconds = (n * model.second_weights(kind, active=True) for kind, n in model.kinds.items())
    weights = model.layers * model.attention_weights + sum(seconds)
    matmul = 2 * workload.tokens * (weights + model.vocab * model.hidden)
    sequences = workload.batch * workload.micro_batches
    pairs = sum(
        layers * twice_attention_pairs(workload, kind.window)
        for kind, layers in model.kinds.items()
    )
    widths = model.heads * (model.head_dim + model.value_dim)
    return matmul + pairs * widths * sequences


def _inference_flops(model: ModelShape, workload: Workload, requests: Requests) -> int:
    """Return those of a step of inference: logits of every sequence's last token alone.

    A new token sees all that is cached of its sequence, and half of what is new, as above.
    """
    seconds = (n * model.second_weights(kind, active=True) for kind, n in model.kinds.items())
    weights = model.layers * model.attention_weights + sum(seconds)
    head = len(requests.each) * model.vocab * model.hidden
    matmul = 2 * (requests.new * weights + head) * workload.micro_batches
    widths = model.heads * (model.head_dim + model.value_dim) * workload.micro_batches
    pairs = sum(
        layers * _twice_new_pairs(request, kind.window)
        for request in requests.each
        for kind, layers in model.kinds.items()
    )
    return matmul + pairs * widths


def _twice_new_pairs(request: Request, window: int | None) -> int:
    """Return twice the pairs of a sequence's new tokens, with those before them and each other."""
    whole, before = request.length**2, request.cached**2
    if window:
        whole -= max(request.length - window, 0) ** 2
        before -= max(request.cached - window, 0) ** 2
    return whole - before


def model_flops(model: ModelShape, workload: Workload) -> int:
    """Return the flops that MFU counts: forward, plus twice that for backward when training.

    Recomputation is not counted (it is in HFU). Attention's backward counts twice its forward
    here, by the same convention; flash attention performs 2.5 times, which HFU sees.
    """
    return forward_flops(model, workload) * (3 if workload.phase == "train" else 1)
