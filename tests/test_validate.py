"""Validation: blocks predicted from a fit, their errors, their order, and the numbers of record."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("scipy", reason="fitting needs tspsim[calibrate]")

import tspsim
from tests.test_fit import MACHINE, made
from tspsim.calibrate import rows as raw
from tspsim.calibrate.fit import fit
from tspsim.calibrate.fit.write import profile_document, topology_document, write, yaml
from tspsim.calibrate.measure import grid
from tspsim.calibrate.rows import CalibrationError, Row, Rows
from tspsim.calibrate.validate import validate
from tspsim.calibrate.validate.report import state_error, to_dict
from tspsim.calibrate.validate.report import write as write_report
from tspsim.calibrate.validate.scenario import scenario, title
from tspsim.cli.app import app
from tspsim.files.errors import UserError
from tspsim.files.source import read

RECORD = Path(__file__).parents[1] / "calibration"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the profile of a machine of known constants."""
    path = tmp_path_factory.mktemp("fit") / "profile.yaml"
    write(fit(made()), path, [2, 4])
    return path


def blocks(fitted: Path, ranks: int = 4, factor: float = 1.0) -> Rows:
    """Return blocks that took `factor` times what the simulator says."""
    topology = read(fitted.with_name(f"profile-{ranks}-ranks.yaml")).data
    profile = read(fitted).data
    devices = [device | {"profile": profile} for device in topology["devices"]]
    found = []
    for options in grid.strategies(ranks):
        row = Row("block", grid.block(256, 128, ranks, options), "held_out", (1.0,))
        step = tspsim.run(scenario(row, topology | {"devices": devices})).timeline.step_time
        spans = [[["compute", "mm", 0.0, step / 2]] for _ in range(ranks)]
        found.append(replace(row, seconds=(step * factor,), timeline=spans))
    return Rows(MACHINE, tuple(found))


def test_blocks_that_take_what_is_predicted_have_no_error(fitted: Path) -> None:
    """Measured and predicted are the same numbers, and so is the order of strategies."""
    report = validate(blocks(fitted), fitted)
    assert report.error == pytest.approx(0.0, abs=1e-12)
    (group,) = report.groups()
    assert group.measured == group.predicted
    assert group.agreeing == group.pairs == 10


def test_the_error_is_relative_to_what_was_measured(fitted: Path) -> None:
    """Blocks that took twice as long are predicted 50 % too fast."""
    report = validate(blocks(fitted, factor=2.0), fitted)
    assert [c.error for c in report.comparisons] == pytest.approx([-0.5] * 5)
    assert report.error == pytest.approx(0.5)
    assert set(report.errors_by_scheme()) == {
        "tsp 4", "tp 4", "sp 4 (all_gather)", "sp 4 (ring)", "tp 2 x sp 2",
    }  # fmt: skip


def test_pairs_in_the_wrong_order_are_counted(fitted: Path) -> None:
    """A strategy that was measured slowest but is predicted fastest loses all of its pairs."""
    rows = blocks(fitted)
    fastest = min(rows.rows, key=lambda row: row.median)
    turned = tuple(replace(row, seconds=(1e3,)) if row is fastest else row for row in rows.rows)
    (group,) = validate(replace(rows, rows=turned), fitted).groups()
    assert group.pairs - group.agreeing == len(turned) - 1
    assert group.measured[-1] == group.predicted[0]


def test_rows_that_were_fitted_to_are_never_compared(fitted: Path) -> None:
    """Only held-out blocks count; with none there is nothing to say."""
    rows = blocks(fitted)
    used = tuple(replace(row, use="fit") for row in rows.rows)
    with pytest.raises(CalibrationError, match="no measured blocks"):
        validate(replace(rows, rows=used), fitted)


def test_a_profile_of_another_machine_is_refused(fitted: Path) -> None:
    """Both machines are named."""
    rows = replace(blocks(fitted), machine=replace(MACHINE, device="another one"))
    with pytest.raises(CalibrationError, match=r"(?s)another one.*a processor"):
        validate(rows, fitted)


def test_a_missing_topology_is_told(fitted: Path, tmp_path: Path) -> None:
    """The command that writes it is named."""
    alone = tmp_path / "profile.yaml"
    alone.write_text(fitted.read_text())
    with pytest.raises(UserError, match=r"profile-4-ranks.yaml: no such topology.*calibrate fit"):
        validate(blocks(fitted), alone)


def test_the_profile_gets_the_error_and_results_tell_it(fitted: Path, tmp_path: Path) -> None:
    """Stating it twice leaves one; a run with that profile carries it."""
    for path in fitted.parent.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    profile = tmp_path / "profile.yaml"
    state_error(profile, 0.5)
    state_error(profile, 0.0625)
    assert profile.read_text().count("error: 0.0625") == 1
    row = blocks(fitted).rows[0]
    document = scenario(row, {"file": str(tmp_path / "profile-4-ranks.yaml")})
    result = tspsim.run(document)
    assert result.summary.to_dict()["profile"] == {"name": "profile", "error": 0.0625}


def test_validate_on_the_command_line(fitted: Path, tmp_path: Path) -> None:
    """It prints a line per block, writes report and pictures, and states the error."""
    rows = blocks(fitted, factor=1.25)
    raw.write_machine(tmp_path / "rows", MACHINE)
    raw.append(tmp_path / "rows", rows.rows)
    for path in fitted.parent.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    profile, folder = str(tmp_path / "profile.yaml"), str(tmp_path / "report")
    arguments = ["validate", str(tmp_path / "rows"), "--profile", profile]
    result = CliRunner().invoke(app, [*arguments, "-o", folder])
    assert result.exit_code == 0, result.stderr
    for row in rows.rows:
        assert title(row) in result.stdout
    assert "mean absolute error 20.0%" in result.stdout
    assert "error: 0.2" in Path(profile).read_text()
    names = {path.name for path in Path(folder).iterdir()}
    assert {"report.md", "predicted-measured.png", "timeline-tsp-4.png"} <= names
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert printed["error"] == pytest.approx(0.2)
    assert len(printed["rows"]) == 5


# ---- the numbers of record -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def record() -> Rows:
    """Return the committed rows."""
    return raw.read(RECORD / "rows")


def _without_error(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("error:")) + "\n"


def test_the_committed_profile_comes_from_the_committed_rows(record: Rows) -> None:
    """A new fit gives the same profile and the same topologies, to the last digit."""
    found = fit(record)
    committed = (RECORD / "profile.yaml").read_text(encoding="utf-8")
    assert yaml(profile_document(found, "profile")) == _without_error(committed)
    for ranks in (2, 4):
        text = (RECORD / f"profile-{ranks}-ranks.yaml").read_text(encoding="utf-8")
        assert yaml(topology_document(found, ranks, "profile.yaml")) == text


def test_the_committed_report_comes_from_the_committed_rows(record: Rows, tmp_path: Path) -> None:
    """The page and the profile's error are what the simulator of this commit predicts."""
    report = validate(record, RECORD / "profile.yaml")
    write_report(report, tmp_path)
    committed = (RECORD / "report" / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == committed
    assert read(RECORD / "profile.yaml").data["error"] == to_dict(report)["error"]
