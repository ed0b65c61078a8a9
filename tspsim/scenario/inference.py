"""The keys of a step of inference: prompts, what is cached, and how it and weights are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.files.units import Seconds
from tspsim.kernels import INFERENCE
from tspsim.model import Workload
from tspsim.requests import CacheForm, Series, WeightForm
from tspsim.scenario.section import MOST, Count, Section

Lengths = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=16384)]
#: Tokens, of all sequences alike or of each.
Cached = (
    Annotated[int, Field(ge=0, le=MOST)]
    | Annotated[
        tuple[Annotated[int, Field(ge=0, le=MOST)], ...],
        Field(strict=False, min_length=1, max_length=16384),
    ]
)

#: Which keys a phase has beside those of all, and which of them it needs.
ALLOWED = {
    "prefill": (
        "sequence", "prompt", "requests", "cached", "chunk", "cache", "weights", "overhead"
    ),
    "decode": ("cached", "cache", "weights", "overhead"),
    "generate": (
        "sequence", "prompt", "requests", "cached", "new_tokens", "chunk", "cache", "weights",
        "overhead",
    ),
}  # fmt: skip
#: Keys of inference, and those of training that it does not have.
STATED = ("prompt", "cached", "new_tokens", "requests", "chunk", "cache", "weights", "overhead")
TRAINING = {"recompute": "none", "logits_chunks": 1}
#: Sequences of a step.
MOST_SEQUENCES = 16384


class CacheKeys(Section):
    """``workload.cache:`` — how keys and values are kept."""

    dtype: Literal["", "bf16", "fp16", "fp8", "fp32"] = Field(
        "", description="type of keys and values in the cache (default: dtype)"
    )
    block: int = Field(16, ge=1, le=2**20, description="tokens of a page, reserved whole")

    def value(self) -> CacheForm:
        """Return the form."""
        return CacheForm(**self.model_dump())


class WeightKeys(Section):
    """``workload.weights:`` — what a layer's matrices are kept in, and multiply."""

    attention: Literal["", "fp8"] = Field(
        "", description="those of attention's projections (default: dtype)"
    )
    mlp: Literal["", "fp8"] = Field(
        "", description="those of the MLP, or of experts (default: dtype)"
    )

    def value(self) -> WeightForm:
        """Return the form."""
        return WeightForm(**self.model_dump())


class InferenceKeys(Section):
    """Keys of ``workload:`` for the phases prefill, decode and generate."""

    prompt: Count | None = Field(
        None, description="prefill, generate: tokens of a prompt (or sequence)"
    )
    requests: Lengths | None = Field(
        None,
        description="prefill, generate: prompts of other lengths, in place of prompt and batch",
    )
    cached: Cached | None = Field(
        None,
        description="tokens in the cache, of every sequence or a list: in decode all of its own, "
        "else the beginning of a prompt",
    )
    new_tokens: Count | None = Field(None, description="generate: tokens that every sequence gets")
    chunk: Count | None = Field(
        None, description="prefill, generate: tokens of a prompt in one step at most (default: all)"
    )
    cache: CacheKeys | None = Field(None, description="how keys and values are kept")
    weights: WeightKeys | None = Field(
        None, description="what a layer's matrices are kept in, and multiply"
    )
    overhead: Seconds | None = Field(
        None, description="time beside every step: sampling, scheduling, what the host does"
    )


def infers(phase: str) -> bool:
    """Whether a phase is one of inference."""
    return phase in INFERENCE


def inference_problems(keys: Any) -> Iterator[Problem]:
    """Yield what is wrong with the keys of a workload, by its phase."""
    phase = keys.phase
    stated = [name for name in STATED if getattr(keys, name) is not None]
    if not infers(phase):
        for name in stated:
            message = f"a key of the phases {', '.join(ALLOWED)}; phase is {phase}"
            yield Problem(("workload", name), message)
        if keys.sequence is None:
            yield Problem(("workload", "sequence"), "missing; tokens of one sequence")
        return
    for name in ("sequence", *stated):
        if getattr(keys, name) is not None and name not in ALLOWED[phase]:
            known = ", ".join(("batch", *ALLOWED[phase]))
            yield Problem(("workload", name), f"not a key of phase {phase}, which has {known}")
    for name, without in TRAINING.items():
        if getattr(keys, name) != without:
            message = f"found {getattr(keys, name)}; an option of training: leave it out in phase "
            yield Problem(("workload", name), f"{message}{phase}")
    if keys.causal == "off":
        message = "found 'off'; a cache is of causal attention: use zigzag or contiguous"
        yield Problem(("workload", "causal"), message)
    yield from _length_problems(keys)


def _length_problems(keys: Any) -> Iterator[Problem]:
    if keys.phase == "decode":
        if keys.cached is None:
            yield Problem(("workload", "cached"), "missing; tokens in the cache of every sequence")
            return
    else:
        wrong = list(_prompt_problems(keys))
        yield from wrong
        if wrong:
            return
    count = count_of(keys)
    if count > MOST_SEQUENCES:
        yield Problem(("workload", "batch"), f"found {count}; at most {MOST_SEQUENCES} sequences")
    elif isinstance(keys.cached, tuple) and len(keys.cached) != count:
        message = f"found {len(keys.cached)} lengths; there are {count} sequences: one for each"
        yield Problem(("workload", "cached"), message)
    elif keys.phase != "decode":
        yield from _prefix_problems(keys, count)
    elif 0 in _cached(keys, count):
        message = "found 0; a decode goes on from a cache: at least 1, or phase prefill"
        yield Problem(("workload", "cached"), message)


def _prompt_problems(keys: Any) -> Iterator[Problem]:
    given = [n for n in ("sequence", "prompt", "requests") if getattr(keys, n) is not None]
    if len(given) != 1:
        told = f"found {' and '.join(given)}" if given else "missing"
        message = f"{told}; give one of prompt (or sequence) and requests"
        yield Problem(("workload", given[-1] if given else "prompt"), message)
    if keys.phase == "generate" and keys.new_tokens is None:
        yield Problem(("workload", "new_tokens"), "missing; tokens that every sequence gets")
    if keys.requests and keys.batch not in (1, len(keys.requests)):
        message = f"found {keys.batch}; requests has {len(keys.requests)} prompts: leave it out"
        yield Problem(("workload", "batch"), message)


def count_of(keys: Any) -> int:
    """Return the sequences of a step of inference."""
    if keys.requests:
        return len(keys.requests)
    if keys.phase == "decode" and isinstance(keys.cached, tuple) and keys.batch == 1:
        return len(keys.cached)
    return int(keys.batch)


def lengths_of(keys: Any) -> tuple[int, ...]:
    """Return the lengths of the sequences behind a step of inference."""
    count = count_of(keys)
    if keys.phase == "decode":
        return tuple(length + 1 for length in _cached(keys, count))
    return tuple(prompt + (keys.new_tokens or 0) for prompt in _prompts(keys, count))


def length_key(keys: Any) -> str:
    """Return the key that says how long sequences are."""
    if keys.phase == "decode":
        return "cached"
    given = (name for name in ("requests", "prompt") if getattr(keys, name) is not None)
    return next(given, "sequence")


def _prefix_problems(keys: Any, count: int) -> Iterator[Problem]:
    prompts, cached = _prompts(keys, count), _cached(keys, count)
    for prompt, prefix in zip(prompts, cached, strict=True):
        if prefix >= prompt:
            beyond = f"longer than the prompt of {prompt} tokens"
            whole = f"all of the prompt of {prompt} tokens: nothing is left to compute"
            told = beyond if prefix > prompt else whole
            yield Problem(("workload", "cached"), f"found {prefix}; {told}; at most {prompt - 1}")
            return


def _prompts(keys: Any, count: int) -> tuple[int, ...]:
    return tuple(keys.requests or (keys.prompt or keys.sequence,) * count)


def _cached(keys: Any, count: int) -> tuple[int, ...]:
    found = keys.cached or 0
    return found if isinstance(found, tuple) else (found,) * count


def with_requests(keys: Any, workload: Workload) -> Workload:
    """Return a workload with the sequences of its last step, and the steps before it."""
    form, overhead = (keys.cache or CacheKeys()).value(), keys.overhead or 0.0
    count = count_of(keys)
    cached = _cached(keys, count)
    prompts = cached if keys.phase == "decode" else _prompts(keys, count)
    series = Series(prompts, cached, keys.new_tokens or 1, keys.chunk, form, overhead)
    weights = (keys.weights or WeightKeys()).value()
    return replace(workload.of(series.last).within(series), weights=weights)
