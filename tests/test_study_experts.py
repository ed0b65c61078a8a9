"""The study of experts: its closed form is that of the recorded programs, its page that of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.expert_points import FORWARD, MODELS, RECOMPUTED, TRAINED, equal_bytes, shape
from tests.schedules import degree_of, program
from tspsim.model import ModelShape, Workload

#: What is counted: rows of tokens and back, or experts' weights and their gradients.
EXPERTS = ("dispatch", "combine", "experts", "dexperts")
#: A step forward, a trained one, and one that runs its layers again: ranks, options and passes.
STEPS: dict[str, tuple[int, dict[str, Any], float]] = {
    "forward": (8, {"phase": "forward"}, FORWARD),
    "forward on two": (2, {"phase": "forward"}, FORWARD),
    "trained": (8, {"phase": "train"}, TRAINED),
    "recomputed": (8, {"phase": "train", "recompute": "full"}, RECOMPUTED),
}


def moved(
    model: ModelShape, tokens: int, degree: int, options: dict[str, Any], **spread: Any
) -> float:
    """Return the bytes of expert traffic that a rank receives, by the recorded program."""
    workload = Workload(sequence=degree * tokens, batch=1, causal="off", **options)
    variant = ("tsp", {"degree": degree, "replicate_kv_heads": True, "experts": spread})
    recorded, mesh = program(variant, model, workload)
    found = [op for op in recorded.ops if op.message and op.label in EXPERTS]
    assert found
    return sum(
        (
            Fraction(op.message.received(degree_of(op, recorded, mesh)))
            for op in found
            if op.message
        ),
        Fraction(0),
    )


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shards", ["experts", "columns"])
@pytest.mark.parametrize("name", MODELS.values())
def test_by_bytes_alone_the_winner_flips_at_the_closed_form(
    name: str, shards: str, step: str
) -> None:
    """At it both move as many bytes; a round of tokens to every expert fewer or more decides."""
    degree, options, passes = STEPS[step]
    model = shape(name)
    assert model.experts is not None
    tokens, a_round = equal_bytes(model.experts, passes), model.experts.count
    assert tokens == int(tokens)
    ring = moved(model, int(tokens), degree, options, layout="ring", shards=shards)
    fewer, equal, more = (
        moved(model, int(tokens) + change, degree, options, layout="tokens")
        for change in (-a_round, 0, a_round)
    )
    assert fewer < ring == equal < more


@pytest.mark.parametrize("name", MODELS.values())
def test_the_closed_form_is_what_the_page_says(name: str) -> None:
    """Forward and trained, as whole numbers."""
    page = " ".join(_page().split())
    experts = shape(name).experts
    assert experts is not None
    forward, trained = (equal_bytes(experts, passes) for passes in (FORWARD, TRAINED))
    assert f"{name} {forward:,.0f} and {trained:,.0f}" in page


def _page() -> str:
    path = Path(__file__).parent.parent / "docs" / "studies" / "tsp-experts.md"
    return path.read_text(encoding="utf-8")
