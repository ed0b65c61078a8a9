"""``strategy.pp`` of a command line of Megatron-LM."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.scenario.interop.command_line import CommandLine
from tspsim.scenario.interop.draft import Key
from tspsim.scenario.interop.megatron_model import MOST, key

PP = "pipeline-model-parallel-size"
EACH, CHUNKS = "num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank"
FIRST, LAST = "decoder-first-pipeline-num-layers", "decoder-last-pipeline-num-layers"
EMBEDDING = "account-for-embedding-in-pipeline-split"
LOSS = "account-for-loss-in-pipeline-split"
GROUP = "microbatch-group-size-per-virtual-pipeline-stage"


def pipeline_keys(line: CommandLine, stages: int) -> Iterator[Key]:
    """Yield the keys of a pipeline, if there is one."""
    if stages == 1:
        return
    yield key(line, "strategy.pp.stages", stages, PP)
    many = chunks(line, stages)
    overlap = many > 1 and not line.has("no-overlap-p2p-communication")
    if many == 1:
        yield key(line, "strategy.pp.schedule", "1f1b", EACH, CHUNKS)
    else:
        yield key(line, "strategy.pp.schedule.kind", "interleaved", EACH, CHUNKS)
        group = line.get(GROUP) or stages
        yield key(line, "strategy.pp.schedule.group_size", group, GROUP)
        yield key(line, "strategy.pp.chunks", many, EACH, CHUNKS)
    yield key(line, "strategy.pp.overlap", overlap, "no-overlap-p2p-communication")
    yield key(line, "strategy.pp.streams", "direction" if overlap else "pair")
    if line.has(FIRST) or line.has(LAST) or line.has(EMBEDDING) or line.has(LOSS):
        split = layers(line, stages)
        assert split is not None, "checked before"
        yield key(line, "strategy.pp.layers", split, FIRST, LAST, EMBEDDING, LOSS)


def counted(line: CommandLine) -> int:
    """Return the layers that are dealt out: embedding and loss may count as one each."""
    return int(line.get("num-layers")) + line.has(EMBEDDING) + line.has(LOSS)


def chunks(line: CommandLine, stages: int) -> int:
    """Return how many stages lie on a rank."""
    if line.has(CHUNKS):
        return int(line.get(CHUNKS))
    if not line.has(EACH):
        return 1
    return max(1, counted(line) // stages // int(line.get(EACH)))


def layers(line: CommandLine, stages: int) -> list[int] | None:
    """Return the layers of every stage in order; None where they cannot be dealt out."""
    many = chunks(line, stages)
    if stages * many > MOST:
        return None
    if not (line.has(FIRST) or line.has(LAST)):
        each, rest = divmod(counted(line), stages * many)
        dealt = [each] * (stages * many)
        dealt[0] -= line.has(EMBEDDING)
        dealt[-1] -= line.has(LOSS)
        return None if rest or min(dealt) < 0 else dealt
    first, last = line.get(FIRST), line.get(LAST)
    between = stages - line.has(FIRST) - line.has(LAST)
    left = line.get("num-layers") - (first or 0) - (last or 0)
    if (left % between or left < 0) if between else left:
        return None
    each = left // between if between else 0
    ranks = [first if line.has(FIRST) else each, *[each] * (stages - 2)]
    ranks.append(last if line.has(LAST) else each)
    if any(count % many for count in ranks):
        return None
    return [count // many for count in ranks] * many
