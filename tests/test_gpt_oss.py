"""gpt-oss: sinks in every softmax, and biases of router and experts, forward and backward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.experts import EMPTY, GPT_OSS, PAIRS, SKEWED, mixture
from tests.pipelines import piped
from tests.schedules import VARIANTS, record, title
from tspsim.files.errors import ScenarioError
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.scenario import from_document
from tspsim.strategies.experts.base import Products
from tspsim.testing import Case
from tspsim.testing.checks import check_values
from tspsim.values import check, compare
from tspsim.values.dense import initial

WORKLOAD = replace(SKEWED, batch=1, micro_batches=1)
#: Sinks and windows alone.
SINKS = replace(GPT_OSS, experts=None, vocab=0, attention_bias=False)


def passes(variant: Any, model: ModelShape, workload: Workload) -> bool:
    """Whether a strategy computes the dense model's numbers."""
    programs, mesh = record(variant, model, workload)
    proof = compare(programs, mesh, model, workload)
    assert proof.comparisons
    return proof.passed


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_sinks_count_once_in_every_softmax(variant: Any) -> None:
    """Gathered, in a ring of partial softmaxes, by shares of the heads; and run again."""
    assert passes(variant, SINKS, replace(WORKLOAD, recompute="selective"))


@pytest.mark.parametrize("kernels", ["torch-eager", "megatron-2022"])
def test_sinks_of_kernels_that_keep_scores_are_the_same(kernels: str) -> None:
    """What probabilities lack of 1 is the sink's, behind a dropout of them too."""
    for variant in (VARIANTS[1], VARIANTS[7], VARIANTS[12]):
        assert passes(variant, GPT_OSS, replace(WORKLOAD, kernels=PRESETS[kernels]))


@pytest.mark.parametrize(
    ("strategy", "layout"), [pair for pair in PAIRS if pair[0] in ("tsp", "tp", "tp_sp-sequence")]
)
def test_biases_of_router_and_experts_are_the_dense_loops(strategy: str, layout: str) -> None:
    """In every layout, with experts that get nothing, and gradients summed over replicas."""
    check_values(mixture(strategy, layout, GPT_OSS, replace(EMPTY, batch=1, micro_batches=1)))


@pytest.mark.parametrize(
    ("spread", "options"),
    [
        ({"over": ["dp"], "cut": ["tsp"], "pieces": 2}, {"zero": 1}),
        ({"once": "rank"}, {"zero": 3}),
        ({"over": ["tsp", "dp"], "once": "node"}, {}),
    ],
    ids=str,
)
def test_biases_go_with_their_experts(spread: dict[str, Any], options: dict[str, Any]) -> None:
    """Cut beside being dealt, in pieces, and where weights come and go."""
    plain = replace(GPT_OSS, mlp="plain", vocab=0)
    check_values(mixture("tsp-twice", "tokens", plain, WORKLOAD, spread, **options))


@pytest.mark.parametrize("strategy", ["tsp", "sp-usp"])
def test_a_split_backward_has_all_of_their_gradients(strategy: str) -> None:
    """Those of biases in its second half, those of sinks with attention's."""
    check_values(piped(strategy, "zb_h1", model=GPT_OSS, recompute="full"))


def test_a_sink_in_every_partial_softmax_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would count as often as there are blocks of keys."""
    right, seen = Rank.attention, list[Operand]()

    def often(rank: Rank, *values: Any) -> Any:
        seen.extend(sink for sink in values[4:] if sink)
        return right(rank, *values[:4], seen[-1])

    assert passes(("sp", {"degree": 4, "kv": "ring"}), SINKS, WORKLOAD)
    monkeypatch.setattr(Rank, "attention", often)
    assert not passes(("sp", {"degree": 4, "kv": "ring"}), SINKS, WORKLOAD)


@pytest.mark.parametrize(("strategy", "layout"), [("tp", "tensor"), ("tsp", "columns")])
def test_a_bias_of_outputs_that_is_added_by_the_wrong_rank_is_found(
    strategy: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each adds its own columns of it; all of them add the first ones here."""
    right = Products.__init__
    monkeypatch.setattr(
        Products, "__init__", lambda self, rank, groups, _=0: right(self, rank, groups)
    )
    assert not proven(mixture(strategy, layout, GPT_OSS, WORKLOAD))


def proven(made: Case) -> bool:
    """Whether a case computes the dense model's numbers."""
    return compare(made.programs, made.mesh, made.model, made.workload).passed


@pytest.mark.parametrize("left_out", ["sinks", "biases"])
def test_what_is_left_out_fails_the_proof(left_out: str) -> None:
    """A program of the model without it does not compute its numbers."""
    without = replace(GPT_OSS, experts=replace(GPT_OSS.experts, biases=False))
    model = replace(GPT_OSS, sinks=False) if left_out == "sinks" else without
    programs, mesh = record(("tp", {"degree": 2}), model, WORKLOAD)
    assert not compare(programs, mesh, GPT_OSS, WORKLOAD).passed


def test_there_are_as_many_weights_as_are_counted() -> None:
    """The dense model's, which every strategy holds: sinks and biases too."""
    tensors = initial(GPT_OSS, WORKLOAD)
    weights = (
        x.size for name, x in tensors.items() if not name.endswith(("tokens.0", "targets.0"))
    )
    assert sum(weights) == GPT_OSS.parameters


@pytest.mark.parametrize(
    "strategy",
    [
        {"kind": "tsp", "degree": 4, "experts": {"layout": "ring"}},
        {"kind": "tp", "degree": 4, "experts": {"layout": "tensor"}},
        {"kind": "sp", "degree": 4, "kv": "ring"},
        {"kind": "tp_sp", "tp": 2, "sp": 2, "kv": "ulysses"},
    ],
    ids=lambda strategy: strategy["kind"],
)
def test_the_shipped_model_is_proven_under_every_strategy(strategy: dict[str, Any]) -> None:
    """As `tspsim check` does."""
    assert check(from_document(document(strategy))).passed


def document(strategy: dict[str, Any]) -> dict[str, Any]:
    """Return a scenario of a shipped model."""
    return {
        "model": {"hf": "gpt-oss-20b"},
        "workload": {"sequence": 4096},
        "topology": {"file": "h100-node", "ranks": strategy.get("degree", 4)},
        "strategy": strategy,
    }


def test_outputs_whose_bias_does_not_divide_are_refused() -> None:
    """Columns of experts over seven ranks: of 2,880 outputs none has as many."""
    strategy = {"kind": "sp", "degree": 7, "experts": {"layout": "tensor"}}
    made = document(strategy)
    made["model"]["experts"] = {"count": 32, "active": 4, "width": 2870, "biases": True}
    made["workload"]["sequence"] = 7 * 512
    with pytest.raises(ScenarioError, match="7 ranks do not divide the model's hidden 2880"):
        from_document(made)
