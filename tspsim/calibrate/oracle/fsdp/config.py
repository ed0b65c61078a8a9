"""What is asked of FSDP2: a decoder, and how its weights are sharded over replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tspsim.calibrate.oracle.jobs import Job
from tspsim.files.errors import TspsimError

#: Small enough for its records to be read; heads, tokens and widths that all degrees divide.
BLOCK = Job(
    "reference", "tsp", (("degree", 1),), hidden=64, heads=8, kv_heads=4, ffn=96, layers=2,
    sequence=64, batch=1, dtype="fp32",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """One training step of a decoder under `fully_shard`: one group per layer, and the root.

    Parameters
    ----------
    name : str
        How its records are called; in `SUITE` it ends with the number of layers.
    job : Job
        One replica's layers, tokens and strategy. Source ``reference``: the hand-written layers,
        whose weights are flat, one tensor per pack (norms, attention, mlp), sharded over dp after
        the strategy has cut them. Source ``dtensor``, at degree 1 only: plain torch modules, a
        tensor per matrix, [out, in], of which FSDP2 shards and pads the rows.
    dp : int
        Ranks of the data-parallel axis, which is outside the strategy's.
    vocab : int
        0 leaves out embedding, final norm, head and cross-entropy: the root group is empty.
    tied : bool
        Whether embedding and head are one tensor (plain modules only).
    reshard : bool, int or None
        ``reshard_after_forward`` of the layers; that of the root is None: FSDP2 keeps it.
    replicate : int
        HSDP: sharded over ``dp / replicate`` neighbours, replicated over the rest.
    accumulate : int
        Micro-batches of a step; gradients are reduced in the last only.
    param_dtype, reduce_dtype : {"", "bf16", "fp32"}
        Of gathered weights (and compute), and of reductions; as the stored weights' when empty.
    """

    name: str
    job: Job = BLOCK
    dp: int = 8
    vocab: int = 96
    tied: bool = False
    reshard: bool | int | None = None
    replicate: int = 1
    accumulate: int = 1
    param_dtype: str = ""
    reduce_dtype: str = ""

    def __post_init__(self) -> None:
        """Refuse what the oracle cannot run.

        Raises
        ------
        TspsimError
        """
        if self.dp % self.replicate:
            raise TspsimError(f"replicate: {self.replicate} does not divide dp {self.dp}")
        if self.job.source == "reference" and self.tied:
            raise TspsimError("tied: the reference's embedding and head are two tensors")
        if self.job.source == "dtensor" and self.job.ranks > 1:
            raise TspsimError("the plain modules have no parallelism of their own")

    @property
    def shards(self) -> int:
        """Ranks that a group's weights are sharded over."""
        return self.dp // self.replicate

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping that `from_dict` reads."""
        return asdict(self) | {"job": self.job.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """Return the config of a mapping."""
        return cls(**{**data, "job": Job.from_dict(data["job"])})


PLAIN = replace(BLOCK, source="dtensor", strategy="tp")
TSP = replace(BLOCK, options=(("degree", 2),))
FULL = replace(BLOCK, hidden=4096, heads=32, kv_heads=8, ffn=14336, sequence=4096, dtype="bf16")


def _deep(config: Config, layers: int) -> Config:
    job = replace(config.job, layers=layers)
    return replace(config, name=f"{config.name} x{layers}", job=job)


#: The five ways to shard, and what changes sizes.
_WAYS = (
    Config("reshard", reshard=True),
    Config("keep", reshard=False),
    Config("reshard to 4", reshard=4),
    Config("hsdp", replicate=2),
    Config("accumulate", accumulate=2),
)
_SIZES = (
    Config("default"),
    Config("no ends", vocab=0),
    Config("tsp inside", TSP, dp=4),
    Config("fp32 reduce", replace(BLOCK, dtype="bf16"), reduce_dtype="fp32"),
    Config("bf16 gathered", param_dtype="bf16", reduce_dtype="fp32"),
    Config("fp32 accumulate", replace(BLOCK, dtype="bf16"), reduce_dtype="fp32", accumulate=2),
    Config("plain", PLAIN),
    Config("tied", PLAIN, tied=True),
    Config("full size", FULL, vocab=32768, reduce_dtype="fp32"),
    Config("padded", replace(PLAIN, hidden=60, heads=6, kv_heads=3, ffn=94), vocab=97),
    Config("padded flat", replace(BLOCK, hidden=60, heads=6, kv_heads=3, ffn=93), dp=7, vocab=97),
)

#: The configs of record.
SUITE = tuple(_deep(config, layers) for config in _WAYS for layers in (1, 2, 8)) + tuple(
    _deep(config, 2) for config in _SIZES
)

#: Those that the simulator has, too. In the other one a pack is one flat tensor, which is cut and
#: padded as it lies; the simulator cuts tensor by tensor, so that every rank's chunk is a block of
#: a tensor of the dense model, and can be compared with it.
COMPARED = tuple(config for config in SUITE if config.name != "padded flat x2")
