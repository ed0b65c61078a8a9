"""The types of numbers that a command line of Megatron-LM asks for."""

from __future__ import annotations

from typing import Literal

from tspsim.scenario.interop.command_line import CommandLine


def dtype(line: CommandLine) -> Literal["bf16", "fp16", "fp32"]:
    """Return the type of activations."""
    return "bf16" if line.has("bf16") else "fp16" if line.has("fp16") else "fp32"


def gradient_bytes(line: CommandLine) -> int:
    """Return the bytes of a resident gradient, in which it travels too."""
    narrow = line.has("grad-reduce-in-bf16") or line.get("main-grads-dtype") == "bf16"
    half = dtype(line) == "fp16" and not line.has("accumulate-allreduce-grads-in-fp32")
    return 2 if half or (dtype(line) == "bf16" and narrow) else 4
