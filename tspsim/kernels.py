"""Which kernels a program runs: what frameworks fuse, keep and convert, as named presets.

A profile says how long a kernel takes; this says which ones there are. Every part changes ops,
bytes and memory, and each shows there under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Attention = Literal["flash-2", "flash-3", "cudnn", "unfused"]
Fusion = Literal["fused", "separate"]
Loss = Literal["fused", "in-place", "fp32", "chunked"]
Recomputed = Literal["least", "autograd"]
AllReduce = Literal["nccl", "custom"]
#: Who wrote what a step is run by, so far as it makes a difference to how well its kernels follow
#: each other; none: nobody's.
Framework = Literal["none", "torch", "megatron", "serving"]
Preset = Literal[
    "torch-compile", "torch-eager", "megatron-core", "megatron-2022", "serving", "ideal"
]

#: Phases that serving libraries run.
INFERENCE = ("prefill", "decode", "generate")

#: Seconds of the smallest kernel of a CUDA graph that is replayed: bf16 products of at most
#: 4 x 64 x 64 take 2.5 to 3.2 us on A100 and H100 (aiconfigurator-core 0.12.0, 88 rows).
SMALLEST = 2.6e-6

#: Pieces of a chunked loss where the workload states none: torchtune's default.
CHUNKS = 8


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of a program. The defaults are those of ``ideal``: everything fused.

    Parameters
    ----------
    attention : {"flash-2", "flash-3", "cudnn", "unfused"}
        A flash kernel, or products, softmax and scores in memory (Korthikanti et al. 2022, arXiv
        2205.05198, section 4.1: 5 a s^2 b bytes kept with dropout).
    softmax : {"fused", "separate"}
        Of unfused attention. Separate: in fp32, and its output converted: 6 bytes an element kept.
    norm : {"fused", "separate"}
        Separate: an RMSNorm of single tensor ops, in fp32. A LayerNorm is one kernel everywhere.
    activation : {"fused", "separate"}
        Separate: silu and product of a gated MLP in two kernels, silu's output kept.
    rotary : {"fused", "separate"}
        Separate: products, negation, concatenation and sum, as ``rotate_half`` is written.
    dropout : bool
        After embedding, both blocks and an unfused softmax: a mask of one byte an element, kept.
        The reading by values drops nothing.
    loss : {"fused", "in-place", "fp32", "chunked"}
        ``fused``: one buffer of logits becomes its own gradient. ``in-place``: an fp32 copy of the
        logits does (Megatron-LM's vocabulary-parallel cross-entropy, 4 s b v bytes of arXiv
        2205.05198). ``fp32``: torch's cross-entropy of fp32 logits: log-softmax, its gradient and
        that of the logits are buffers of their own. ``chunked``: the same, a piece at a time.
    residual : {"fused", "separate"}
        Separate: a norm's input gradient is written, and added to the residual stream's by a kernel
        of its own, as autograd adds up what comes by two ways.
    accumulation : {"fused", "separate"}
        Separate: a weight gradient is written and then added up, by a kernel of its own.
    recomputed : {"least", "autograd"}
        What recomputation leaves: ``autograd`` keeps the attention's output under ``recompute:
        selective``, since the next matmul reads it, and of a layer that runs again everything;
        ``least`` computes the output again, and the norms' a second time when they are read.
    launch : float or None
        Seconds that every kernel takes beside its work; None: as profile or device state.
    host : float
        Seconds that the host takes to issue one layer's forward; for its backward it takes twice
        as long, for a forward that runs again as long as for the first. 0: no time at all.
    framework : Framework
        Whose kernels these are.
    pace : float
        Fraction of the speed of its kernels at which a step is run: gaps between them, and
        whatever else is not simulated; what the host takes to issue them is `host`.
    replayed : float or None
        Seconds of the smallest kernel, where kernels are replayed from a graph: what is
        element-wise takes so long beside its traffic. 0: it is called from Python, as the profile's
        rows were. None: replayed in inference, called in training.
    all_reduce : {"nccl", "custom"} or None
        ``custom``: small messages go by the kernels that serving libraries have in place of NCCL or
        RCCL, where the profile has times of them; None: in inference, but not in training.
    """

    attention: Attention = "flash-2"
    softmax: Fusion = "fused"
    norm: Fusion = "fused"
    activation: Fusion = "fused"
    rotary: Fusion = "fused"
    dropout: bool = False
    loss: Loss = "fused"
    residual: Fusion = "fused"
    accumulation: Fusion = "fused"
    recomputed: Recomputed = "least"
    launch: float | None = None
    host: float = 0.0
    framework: Framework = "none"
    pace: float = 1.0
    replayed: float | None = None
    all_reduce: AllReduce | None = None

    def smallest(self, phase: str) -> float:
        """Return the seconds of the smallest kernel of a phase that replays them; 0: none does."""
        if self.replayed is None:
            return SMALLEST if phase in INFERENCE else 0.0
        return self.replayed

    def reduces_as_servers(self, phase: str) -> bool:
        """Return whether small all-reduces of a phase go by the kernels of serving libraries."""
        return self.all_reduce == "custom" or (self.all_reduce is None and phase in INFERENCE)


#: Everything fused, nothing kept that can be done without.
IDEAL = Kernels()

#: Of frameworks written in PyTorch: fitted to whole steps on A100, `tspsim validate --published`.
TORCH_PACE = 0.86

_TORCH = Kernels(
    loss="fp32",
    accumulation="separate",
    recomputed="autograd",
    framework="torch",
    pace=TORCH_PACE,
)
_MEGATRON = Kernels(
    loss="in-place", residual="separate", recomputed="autograd", framework="megatron"
)

#: What frameworks run by default. torch: attention by scaled_dot_product_attention, the loss as
#: written (`F.cross_entropy(logits.float(), targets)`); under torch.compile, blocks are compiled
#: and Inductor fuses what is pointwise (pytorch.org/docs, torchtitan's `compile`). Megatron-LM:
#: `--bias-swiglu-fusion`, `--apply-rope-fusion`, `--gradient-accumulation-fusion` are on by
#: default, `--cross-entropy-loss-fusion` is not; cuDNN's attention by Transformer Engine. 2022: as
#: in arXiv 2205.05198, before flash attention and with dropout. serving: engines of inference
#: (vLLM, SGLang, TensorRT-LLM), whose attention the profiles' tables have; nothing is between
#: their kernels but what a scenario states, as ``workload.overhead``.
PRESETS: dict[Preset, Kernels] = {
    "torch-compile": _TORCH,
    "torch-eager": replace(
        _TORCH, norm="separate", activation="separate", rotary="separate", residual="separate"
    ),
    "megatron-core": replace(_MEGATRON, attention="cudnn"),
    "megatron-2022": replace(_MEGATRON, attention="unfused", dropout=True),
    "serving": Kernels(attention="flash-3", framework="serving"),
    "ideal": IDEAL,
}

#: The preset of a scenario that names none.
DEFAULT: Preset = "torch-compile"
#: Of phases of inference, where nothing is said.
SERVING: Preset = "serving"
