"""Whole steps that others published: how far predictions are off, in which order, how surely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from tspsim.calibrate.published import judge, mixtures, step_table, steps, sustained
from tspsim.calibrate.published.judge import Judged
from tspsim.calibrate.published.mixtures import Foreseen, Row
from tspsim.files.errors import UserError
from tspsim.files.shipped import shipped
from tspsim.kernels import TORCH_PACE
from tspsim.topology.evidence import Residuals
from tspsim.topology.load import parse_profile
from tspsim.topology.whole_steps import COVERAGE, StepEvidence, interval

TOP = Path(__file__).parent.parent
FORESEEN = TOP / "docs" / "mixtures.csv"


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """Return every published step beside its prediction by the shipped profiles."""
    return judge.judge(steps.load(shipped("published")))


def checks(judged: list[Judged], *, several: bool) -> list[Judged]:
    """Return the steps that nothing was fitted to, in one node or over several."""
    whole = [e for e in judged if e.step.use == "check" and e.step.framework != "none"]
    return [each for each in whole if (each.step.nodes > 1) == several]


@pytest.mark.parametrize(("several", "most"), [(False, 0.10), (True, 0.15)])
def test_steps_that_nothing_was_fitted_to_are_foreseen(judged, several, most) -> None:
    """Under 10 % off in one node and under 15 % over several, on average; 20 rows or more each."""
    found = checks(judged, several=several)
    assert len(found) >= 20
    assert mean(abs(each.error) for each in found) < most


def test_as_many_steps_lie_inside_the_interval_as_it_says(judged) -> None:
    """Of an 80 % interval made without their own source, 70 to 90 % of the rows lie inside."""
    found = [*checks(judged, several=False), *checks(judged, several=True)]
    sources = {each.step.source for each in found}
    inside = sum(judge.quality(source, judged, found).inside or 0 for source in sources)
    assert COVERAGE - 0.1 <= inside / len(found) <= COVERAGE + 0.1


def test_as_many_steps_with_experts_lie_inside_their_interval_as_it_says(judged, mixed) -> None:
    """Of one that is made without the rows of their own model, 70 to 90 %; docs say how many.

    Inside that of steps without experts are fewer than it says.
    """
    dense, inside, errors = judge.evidence(judged), {True: 0, False: 0}, []
    for model in dict.fromkeys(row.model for row, _ in mixed):
        others = residuals([pair for pair in mixed if pair[0].model != model])
        known = dense, judge.evidence_of_mixtures(others, judged)
        own = [f.error for row, f in mixed if row.model == model and f.error is not None]
        for experts in inside:
            found = interval(known[experts], "megatron", 2, experts=experts)
            assert found is not None
            inside[experts] += sum(found.low <= 1 + error <= found.high for error in own)
        errors += own
    assert COVERAGE - 0.1 <= inside[True] / len(errors) <= COVERAGE + 0.1
    assert inside[False] / len(errors) < COVERAGE - 0.1
    told = f"{inside[True]} of {len(errors)} inside the interval that the other models give"
    assert told in " ".join((TOP / "docs" / "accuracy.md").read_text(encoding="utf-8").split())


def test_three_sources_of_mixtures_say_themselves_how_they_differ() -> None:
    """Fewer go by those of other steps, and where these are too few nothing is known."""
    source = [0.0, 0.1, 0.2]
    one: judge.Residual = {("megatron", True, "a"): source}
    assert judge.evidence_of_mixtures(one, []) == ()
    assert judge.evidence_of_mixtures({}, []) == ()
    three = {("megatron", True, name): source for name in "abc"}
    (found,) = judge.evidence_of_mixtures(three, [])
    assert (found.experts, found.sources, found.residuals.rows) == (True, 3, 9)
    apart = {
        ("megatron", True, name): [r + 0.1 * i for r in source] for i, name in enumerate("abc")
    }
    (wider,) = judge.evidence_of_mixtures(apart, [])
    assert wider.residuals.high - wider.residuals.low > found.residuals.high - found.residuals.low


@pytest.mark.parametrize("source", ["ring-attention", "ulysses-attention"])
def test_attention_over_devices_takes_as_long_as_was_measured(judged, source) -> None:
    """Rings, zigzag rings, all-to-all and both together: under 8 % off on average, none fitted to.

    Unbalanced blocks behind an all-to-all are foreseen 28 % too fast; docs/profiles.md has it.
    """
    found = [e for e in judged if e.step.source == source and e.step.name != "ulysses 2 x ring 4"]
    assert mean(abs(each.error) for each in found) < 0.08
    assert {each.step.use for each in found} == {"check"}


def test_layouts_of_one_model_are_ranked_as_they_were_measured(judged) -> None:
    """Of pairs that differ by more than 5 %, at most one in forty is predicted the wrong way."""
    sources = {each.step.source for each in judged}
    found = [judge.quality(source, judged) for source in sources]
    assert sum(each.pairs for each in found) > 100
    assert sum(each.ordered for each in found) >= 0.975 * sum(each.pairs for each in found)


def test_sharded_norms_make_megatrons_layer_faster_by_what_was_measured(judged) -> None:
    """Forward and backward with sequence parallel: -3.1 % (Korthikanti et al. 2022, table 4)."""
    times = {e.step.name: e for e in judged if e.step.source == "korthikanti-2022"}

    def both(kind: str) -> tuple[float, float]:
        parts = [times[f"tp8 {kind}{way}"] for way in ("forward", "backward")]
        return sum(p.step.seconds for p in parts), sum(p.predicted.seconds for p in parts)

    plain, sharded = both(""), both("sharded ")
    measured, predicted = (sharded[i] / plain[i] - 1 for i in range(2))
    assert measured == pytest.approx(-0.031, abs=0.001)
    assert -0.05 < predicted < 0


def test_megatrons_layer_takes_as_long_as_was_measured(judged) -> None:
    """Forward, and backward with each recomputation: within 5 % on average, each within 8 %."""
    found = [abs(e.error) for e in judged if e.step.source == "korthikanti-2022"]
    assert len(found) == 7
    assert mean(found) < 0.05
    assert max(found) < 0.08


def test_peaks_of_whole_steps_are_foreseen(judged) -> None:
    """In one node within 10 % on average, and what a further sequence adds within 15 %."""
    found = [e for e in judged if e.step.source == "nanotron-node"]
    apart = [e.predicted.memory / e.step.memory - 1 for e in found if e.step.memory]
    assert mean(map(abs, apart)) < 0.10
    peaks = {e.step.name: (e.step.memory or 0.0, e.predicted.memory) for e in found}
    for one, two in (
        ("1B tp1 dp8 mb1", "1B tp1 dp8 mb2"),
        ("3B tp1 dp8 mb1 zero", "3B tp1 dp8 mb2 zero"),
    ):
        measured, predicted = (peaks[two][i] - peaks[one][i] for i in range(2))
        assert predicted == pytest.approx(measured, rel=0.15)


def test_the_pace_of_torch_is_the_median_of_one_source() -> None:
    """The constant in the presets is what its command gives: MPT models on A100, no other row."""
    some = [s for s in steps.load(shipped("published")) if s.source == "llm-foundry-a100"]
    assert sustained.pace(some, "a100-published") == TORCH_PACE
    assert {s.use for s in some} == {"fit"}


def test_what_is_fitted_to_is_never_counted_as_a_check(judged) -> None:
    """Evidence changes with the checked rows and with no other."""
    fitted = [e for e in judged if e.step.use == "fit"]
    halved = [replace(e, step=replace(e.step, seconds=e.step.seconds / 2)) for e in fitted]
    checked = [e for e in judged if e.step.use == "check"]
    assert judge.evidence([*checked, *halved]) == judge.evidence(judged)
    assert judge.evidence(checked) != judge.evidence(checked[10:])


@pytest.fixture(scope="module")
def mixed() -> list[tuple[Row, Foreseen]]:
    """Return every published step of a mixture beside what the committed table says of it."""
    rows = mixtures.load(shipped("published"))
    return list(zip(rows, mixtures.written(FORESEEN), strict=True))


def residuals(mixed: list[tuple[Row, Foreseen]]) -> judge.Residual:
    """Return how far some of them are off."""
    return mixtures.residuals(*zip(*mixed, strict=True))


def test_steps_with_experts_that_were_not_foreseen_are_refused(mixed) -> None:
    """Rows and what is foreseen of them must be the same: what to run is said."""
    rows, foreseen = zip(*mixed, strict=True)
    with pytest.raises(UserError, match=r"19 rows foreseen are not the 20 published; run python"):
        mixtures.residuals(rows, foreseen[1:])


def test_shipped_profiles_hold_the_evidence_of_the_rows(judged, mixed) -> None:
    """What a profile's file says is what the rows say now, of steps with and without experts."""
    known = (*judge.evidence(judged), *judge.evidence_of_mixtures(residuals(mixed), judged))
    for name in ("a100-published", "h100-published"):
        assert parse_profile(name).value().steps == known
    assert parse_profile("b200-published").value().steps == ()


def test_the_table_names_every_source_and_what_was_fitted_to(judged) -> None:
    """A line a source, with the rows inside, or that they were fitted to."""
    text = step_table.table(judged)
    for source in {each.step.source for each in judged}:
        assert source in text
    assert "rows that nothing was fitted to" in text
    assert len(step_table.to_dict(judged)["steps"]) == len(judged)


def test_ideal_kernels_at_stated_rates_are_a_bound_that_no_step_beats(judged) -> None:
    """Every step in a node takes longer; the device's own profile comes nearer to every source."""
    off: dict[str, list[tuple[float, float]]] = {}
    for each in judged:
        step = each.step
        if step.nodes == 1:
            ideal = replace(step, scenario={**step.scenario, "kernels": "ideal"})
            bound = steps.predict(ideal, "datasheet").seconds / step.seconds - 1
            assert bound < 0
            assert bound < each.error
            off.setdefault(step.source, []).append((abs(bound), abs(each.error)))
    assert len(off) > 5
    for source, errors in off.items():
        stated, fitted = (sum(part) for part in zip(*errors, strict=True))
        assert fitted < stated, source


def test_the_document_says_what_the_rows_say(judged) -> None:
    """The figures of docs/accuracy.md are those of the table, and change with it."""
    page = " ".join((TOP / "docs" / "accuracy.md").read_text(encoding="utf-8").split())
    spans = [checks(judged, several=several) for several in (False, True)]
    node, nodes = (100 * mean(abs(each.error) for each in some) for some in spans)
    found = [*spans[0], *spans[1]]
    sources = {each.step.source for each in found}
    inside = sum(judge.quality(source, judged, found).inside or 0 for source in sources)
    one, several, ring = (
        judge.quality(name, judged)
        for name in ("nanotron-node", "nanotron-nodes", "ring-attention")
    )
    assert one.memory_error is not None and several.memory_error is not None
    for told in (
        f"| {len(found)} published times that nothing was fitted to | {node:.1f} % in a node, "
        f"{nodes:.1f} % over two to eight; {100 * inside / len(found):.0f} % inside",
        f"| {ring.rows} published times that nothing was fitted to | {100 * ring.error:.1f} % |",
        f"{100 * one.memory_error:.1f} % on average; over several nodes "
        f"{100 * several.memory_error:.0f} %",
    ):
        assert told in page


NODE = StepEvidence("torch", False, 2, Residuals(9, 0.0, -0.1, 0.2), 0.04)


def test_an_interval_holds_for_the_frameworks_and_spans_that_were_compared() -> None:
    """Another framework borrows it and says so; another span, or nobody's kernels, has none.

    Nor have steps with experts.
    """
    own, other = interval([NODE], "torch", 1), interval([NODE], "megatron", 1)
    assert own is not None and other is not None
    assert (own.borrowed, other.borrowed) == (False, True)
    low, high = own.of(1.0)
    assert low < 1 < high
    assert interval([NODE], "torch", 2) is None
    assert interval([NODE], "none", 1) is None
    assert interval([NODE], "torch", 1, experts=True) is None
    assert interval([replace(NODE, experts=True)], "torch", 1) is None
    assert interval([], "torch", 1) is None
