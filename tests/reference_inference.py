"""What a rank process of `test_reference` runs of inference: step by step, against one forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from tspsim.calibrate.oracle.inference.config import Config
from tspsim.model import ModelShape
from tspsim.requests import Request

SHAPE = {"hidden": 32, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 48, "vocab": 48}

Case = dict[str, Any]
Meshes = dict[Any, Any]

#: Prompts, in how many pieces each, and tokens behind them: some ranks get none of the short one.
PROMPTS = {"uneven": ((5, 11, 3), 1, 5), "pieces": ((8, 13), 2, 3)}


def cases(world: int) -> dict[str, Case]:
    """Return the cases of a world size by name."""
    return {"-".join(map(str, case.values())): case for case in _cases(world)}


def _cases(world: int) -> Iterator[Case]:
    for prompts, kv_heads in (("uneven", 4), ("pieces", 2 if world == 4 else 8)):
        base = {"prompts": prompts, "kv_heads": kv_heads}
        causal = "zigzag" if prompts == "uneven" else "contiguous"
        yield {**base, "strategy": "tp", "degree": world}
        yield {**base, "strategy": "tsp", "degree": world, "causal": causal}
        for passes in ("kv", "queries"):
            yield {**base, "strategy": "sp", "degree": world, "passes": passes}
        if world == 4:
            yield {**base, "strategy": "tp_sp", "tp": 2, "sp": 2, "causal": causal}
    yield {**base, "strategy": "tsp", "degree": world, "lookahead": 0}


def job(case: Case) -> tuple[Any, Case]:
    """Return a case as a job in double precision, and what else makes its decoder."""
    from tspsim.calibrate.reference import Job, Shape

    rest = {name: value for name, value in case.items() if name != "prompts"}
    kv_heads, passes = rest.pop("kv_heads"), rest.pop("passes", None)
    cut = {"sp": 1, "tp_sp": rest.get("tp")}.get(rest["strategy"], rest.get("degree"))
    copies = max(1, cut // kv_heads)
    shape = Shape(**{**SHAPE, "kv_heads": kv_heads * copies})
    whole = 2 * rest.get("degree", rest.get("sp"))
    made = Job(shape, whole, dtype="fp64", scratch=100, **rest)
    return made, {"passes": passes, "copies": copies}


def weights(shape: Any, copies: int) -> dict[str, Any]:
    """Return a dense model's weights with every key/value head so often, one beside the other."""
    from tspsim.calibrate import reference

    single = replace(shape, kv_heads=shape.kv_heads // copies)
    found = reference.initial(single)
    for name, value in found.items():
        if name.endswith(("wk", "wv")):
            heads = value.unflatten(1, (-1, shape.d)).repeat_interleave(copies, 1)
            found[name] = heads.flatten(1)
    return found


def found(world: int) -> tuple[dict[str, dict[str, float]], dict[str, list[list[Any]]]]:
    """Return a rank's differences from the dense model by case, and its counts by chain."""
    meshes: Meshes = {}
    errors = {name: compare(case, meshes) for name, case in cases(world).items()}
    return errors, {name: counts(steps, meshes) for name, steps in chains(world).items()}


def connected(job: Any, meshes: Meshes) -> Any:
    """Return the mesh of a job, which others of the same degrees share."""
    from tspsim.calibrate import reference

    key = job.strategy == "tsp", job.cut, job.spread
    if key not in meshes:
        meshes[key] = reference.connect(job) if job.world > 1 else reference.Mesh()
    return meshes[key]


def compare(case: Case, meshes: Meshes) -> dict[str, float]:
    """Return the largest differences of every step from one forward over all tokens."""
    from tspsim.calibrate import reference

    made, how = job(case)
    model = reference.Inference(made, connected(made, meshes), **how)
    model.load(weights(made.shape, how["copies"]))
    prompts, pieces, count = PROMPTS[case["prompts"]]
    ids = drawn(prompts)
    results = [model.step(piece, decodes=False) for piece in cut(ids, pieces)]
    for _ in range(count):
        new = results[-1].logits.argmax(-1, keepdim=True)
        ids = [joined(*pair) for pair in zip(ids, new, strict=True)]
        results.append(model.step(list(new), decodes=True))
    return against(dense(made.shape.kv_heads // how["copies"]), ids, results)


def drawn(prompts: tuple[int, ...]) -> list[Any]:
    """Return random prompts."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, SHAPE["vocab"], (n,), generator=generator) for n in prompts]


def cut(ids: list[Any], pieces: int) -> list[list[Any]]:
    """Return the pieces of all prompts, step by step."""
    each = [sequence.tensor_split(pieces) for sequence in ids]
    return [list(step) for step in zip(*each, strict=True)]


def joined(sequence: Any, new: Any) -> Any:
    """Return a sequence and its next token."""
    import torch

    return torch.cat([sequence, new])


@cache
def dense(kv_heads: int) -> Any:
    """Return the dense model."""
    from tspsim.calibrate import reference

    shape = reference.Shape(**{**SHAPE, "kv_heads": kv_heads})
    model = reference.Dense(reference.Job(shape, 1, dtype="fp64"))
    model.load(reference.initial(shape))
    return model


def against(model: Any, ids: list[Any], results: list[Any]) -> dict[str, float]:
    """Return the differences of all steps from the dense model's output and logits, and tokens."""
    import torch

    found: dict[str, list[float]] = {"output": [0.0], "logits": []}
    with torch.no_grad():
        outputs = [model.hidden(sequence[None])[0] for sequence in ids]
        logits = [model.logits(output) for output in outputs]
    for result in results:
        for number, spans in enumerate(result.spans):
            last = logits[number][result.lengths[number] - 1]
            found["logits"].append(gap(result.logits[number], last))
            for span in spans:
                wanted = outputs[number][span.start : span.stop]
                found["output"].append(gap(result.output[0, span.rows], wanted))
    tokens = sum(span.stop - span.start for r in results for some in r.spans for span in some)
    return {**{name: max(errors) for name, errors in found.items()}, "tokens": tokens}


def gap(got: Any, wanted: Any) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((got - wanted).abs().max() / wanted.abs().max())


# ---- what is counted -----------------------------------------------------------------------------

MODEL = ModelShape(32, 2, 8, 4, 48, vocab=48, head_dim=4)


def chains(world: int) -> dict[str, list[Config]]:
    """Return steps one after another by strategy: prompts in two pieces, then two tokens of each.

    No rank gets a single token of a prompt. In bf16.
    """
    degree = (("degree", world),)
    ways: list[tuple[Any, Any, int]] = [("tp", degree, 4), ("tsp", degree, 4)]
    ways.append(("sp", (*degree, ("passes", "kv" if world == 2 else "queries")), 4))
    if world == 4:
        twice = (*degree, ("replicate_kv_heads", True))
        ways += [("tp_sp", (("tp", 2), ("sp", 2)), 4), ("tp", twice, 2), ("tsp", twice, 2)]
    return {
        "-".join(map(str, (kind, *(value for _, value in options), kv_heads))): [
            Config(f"{kind} {number}", replace(MODEL, kv_heads=kv_heads), kind, options, step)
            for number, step in enumerate(_requests())
        ]
        for kind, options, kv_heads in ways
    }


def _requests() -> Iterator[tuple[Request, ...]]:
    first, second = (16, 23), (20, 16)
    yield tuple(Request(n) for n in first)
    yield tuple(Request(n, (m,)) for m, n in zip(first, second, strict=True))
    parts = list(zip(first, second, strict=True))
    for turn in range(2):
        yield tuple(Request(1, some, turn, True) for some in parts)


def counts(steps: list[Config], meshes: Meshes) -> list[Any]:
    """Return what is counted on this rank of steps one after another."""
    import torch

    from tspsim.calibrate.oracle.inference import run

    mesh = connected(run.job(steps[0]), meshes)
    model, found = run.decoder(steps[0], mesh), []
    for step in steps:
        ids = [torch.zeros(request.new, dtype=torch.int64) for request in step.requests]
        found.append(list(run.counted(model, mesh, ids, decodes=step.decodes)))
    return found
