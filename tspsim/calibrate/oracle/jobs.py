"""What is compared: one training step of a block stack, named so that both sides can build it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Source = Literal["dtensor", "reference"]
Strategy = Literal["tsp", "tp", "sp", "tp_sp"]
Recompute = Literal["none", "full"]
MlpKind = Literal["gated", "plain"]


@dataclass(frozen=True, slots=True)
class Job:
    """One training step: forward, backward and optimizer step of a stack of layers.

    No mask: torch's FlopCounterMode never discounts one, so the simulator is asked for
    ``causal: off``.

    Parameters
    ----------
    source : {"dtensor", "reference"}
        Whose code runs under the fake process group.
    strategy : {"tsp", "tp", "sp", "tp_sp"}
        As in a scenario.
    options : tuple of (str, value)
        The strategy's options, degrees included, as in a scenario.
    hidden, heads, kv_heads, ffn, layers : int
    sequence, batch : int
    mlp : {"gated", "plain"}
    norm : {"rmsnorm", "layernorm"}
    recompute : {"none", "full"}
    dtype : {"bf16", "fp32"}
        Of weights, gradients, optimizer states, activations and messages.
    """

    source: Source
    strategy: Strategy
    options: tuple[tuple[str, Any], ...]
    hidden: int = 4096
    heads: int = 32
    kv_heads: int = 32
    ffn: int = 16384
    layers: int = 2
    sequence: int = 131072
    batch: int = 1
    mlp: MlpKind = "gated"
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    recompute: Recompute = "none"
    dtype: Literal["bf16", "fp32"] = "bf16"

    @property
    def title(self) -> str:
        """One line that names the job."""
        options = " ".join(f"{name}={value}" for name, value in self.options)
        kind = f"{self.mlp} {self.norm}"
        size = f"h={self.hidden} heads={self.heads}/{self.kv_heads} S={self.sequence} {kind}"
        return f"{self.source} {self.strategy} {options}, {size}, recompute {self.recompute}"

    def option(self, name: str, otherwise: Any = None) -> Any:
        """Return one of the strategy's options."""
        return dict(self.options).get(name, otherwise)

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return int(self.option("degree", 0) or self.option("tp", 1) * self.option("sp", 1))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping that `from_dict` reads."""
        return asdict(self) | {"options": dict(self.options)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Job:
        """Return the job of a mapping."""
        return cls(**data | {"options": tuple(data["options"].items())})
