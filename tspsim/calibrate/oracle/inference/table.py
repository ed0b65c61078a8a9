"""The records beside the simulator's numbers, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tspsim.calibrate.oracle.inference.config import SUITE, Config
from tspsim.calibrate.oracle.inference.record import Record
from tspsim.calibrate.oracle.inference.simulated import own_keys, simulate
from tspsim.model import ITEMSIZE

COLUMNS = (
    "step", "flop", "own keys", "messages", "cache of a rank", "of all ranks",
)  # fmt: skip


def whole_cache(config: Config) -> int:
    """Return the bytes of the keys and values of all tokens, each once: one device's cache."""
    m = config.model
    tokens = sum(request.length for request in config.requests)
    return 2 * m.layers * m.kv_heads * m.head_dim * tokens * ITEMSIZE["bf16"]


def table(records: Mapping[tuple[str, int], Record]) -> str:
    """Return a Markdown table: one line per config."""
    rows = [_row(config, records[config.name, 0]) for config in SUITE]
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(config: Config, torch: Record) -> tuple[str, ...]:
    ours, more = simulate(config, 0), own_keys(config, 0)
    off = torch.flops - ours.flops - more
    counted = Counter(call.kind for call in torch.calls)
    sent = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
    return (
        config.name,
        f"{torch.flops:,}" if not off else f"**off by {off:+d}**",
        f"{more:,}" if more else "-",
        sent if torch.calls == ours.calls else f"**{sent}**",
        f"{torch.cache:,}" if torch.cache == ours.cache else f"**{torch.cache - ours.cache:+d}**",
        f"{config.ranks * torch.cache / whole_cache(config):.4f}",
    )
