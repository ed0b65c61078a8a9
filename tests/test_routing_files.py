"""Counts of tokens from a file: the table that they are, or refused with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mixtures import mixture
from tspsim.files.errors import ScenarioError
from tspsim.runner import run
from tspsim.scenario import load

#: Tokens of four experts in layers 1 and 2; layer 0 has none.
TABLE = [[8, 4, 2, 2], [2, 2, 8, 4]]
CSV = "layer,expert,tokens\n" + "".join(
    f"{layer},{expert},{tokens}\n"
    for layer, row in enumerate(TABLE, 1)
    for expert, tokens in enumerate(row)
)


def written(folder: Path, text: str, **routing: Any) -> Path:
    """Write counts, and a scenario of three layers beside them that names them."""
    (folder / "counts.txt").write_text(text, encoding="utf-8")
    keys = mixture(
        experts={"first_dense": 1}, workload={"routing": {"file": "counts.txt", **routing}}
    )
    path = folder / "small.yaml"
    path.write_text(json.dumps(keys), encoding="utf-8")
    return path


def routed(path: Path, *overrides: str) -> Any:
    """Return how the scenario of a file routes."""
    return load(path, overrides).workload.routing


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        json.dumps(TABLE),
        json.dumps([[float(tokens) for tokens in row] for row in TABLE]),
        CSV.replace("\n", ".0\n").replace("tokens.0", "tokens"),
        "\n".join([CSV.splitlines()[0], *reversed(CSV.splitlines()[1:]), "", ""]),
        "step, tokens, layer, expert\n" + "".join(
            f"7, {line.split(',')[2]}, {line.split(',')[0]}, {line.split(',')[1]}\r\n"
            for line in CSV.splitlines()[1:]
        ),
    ],
    ids=["csv", "json", "floats", "csv of floats", "reversed", "other columns"],
)  # fmt: skip
def test_a_file_is_the_table_that_it_holds(tmp_path: Path, text: str) -> None:
    """However people write it: the routing is that of the table in the scenario itself."""
    path = written(tmp_path, text, capacity=1.5)
    inline = json.dumps({"table": TABLE, "capacity": 1.5}).replace(": ", ":")
    assert routed(path) == routed(path, f"workload.routing={inline}")


def test_layers_are_those_that_the_file_names(tmp_path: Path) -> None:
    """A row goes to its layer, not to the next one in the file."""
    found = routed(written(tmp_path, CSV))
    assert found.shares(1, 4) == (0.5, 0.25, 0.125, 0.125)
    assert found.shares(2, 4) == (0.125, 0.125, 0.5, 0.25)


def test_a_result_runs_again_without_its_counts(tmp_path: Path) -> None:
    """The table stands in the resolved document, which a result.json holds."""
    first = run(written(tmp_path, CSV))
    (tmp_path / "counts.txt").unlink()
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"document": first.scenario.document}), encoding="utf-8")
    again = run(result)
    assert again.scenario.document == first.scenario.document
    assert again.summary.step_time == first.summary.step_time
    assert again.summary.memory == first.summary.memory


def test_the_command_line_names_a_file_beside_the_scenario(tmp_path: Path) -> None:
    """As one more axis of a sweep does: the same as if the scenario named it."""
    path = written(tmp_path, CSV)
    (tmp_path / "even.json").write_text("[[4, 4, 4, 4]]", encoding="utf-8")
    for override in ("workload.routing.file=even.json", "workload.routing={file: even.json}"):
        assert routed(path, override).shares(2, 4) == (0.25,) * 4


def lines(path: Path, *overrides: str) -> tuple[str, ...]:
    """Return what is wrong with a scenario."""
    with pytest.raises(ScenarioError) as error:
        load(path, overrides)
    return error.value.lines


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2,0,2\n2,1,2\n2,2,8\n2,3,4\n", "", (
            ": found no row of layer 2; layers 1 to 2 have experts, counted from 0: a row each",
        )),
        ("\n1,", "\n0,", (
            ":2: layer 0: found 0; layers 1 to 2 have experts, counted from 0: a row each",
            ": found no row of layer 1; layers 1 to 2 have experts, counted from 0: a row each",
        )),
        ("2,3,4", "2,3,4\n2,4,0", (
            ":10: layer 2, expert 4: found 5 numbers; the model has 4 experts: the tokens of each",
        )),
        ("2,3,4\n", "", (
            ":6: layer 2: found 3 numbers; the model has 4 experts: the tokens of each",
        )),
        ("2,1,2", "2,9,2", (
            ":7: layer 2: found expert 9 and no expert 1; they count from 0, and one without "
            "tokens has a line with 0",
        )),
        ("1,2,2", "1,2,-2", (":4: tokens: found '-2'; must be a whole number from 0 to 1e15",)),
        ("1,2,2", "1,two,2.5", (
            ":4: expert: found 'two'; must be a whole number from 0 to 1e15",
            ":4: tokens: found '2.5'; must be a whole number from 0 to 1e15",
        )),
        ("1,2,2", "1,1,2", (
            ":4: layer 1, expert 1 stands in line 3 already; must stand once: add up its tokens",
        )),
        ("1,2,2", "1,2", (":4: found 2 cells; the header has 3",)),
        ("2,3,4", "2,3,6", (
            ":6: layer 2: adds up to 18; every row must add up to the same number of tokens "
            "times 2 (layer 1: 16)",
        )),
        ("2,3,4", "2,3,2", (
            ":6: layer 2: adds up to 14; every row must add up to the same number of tokens "
            "times 2 (layer 1: 16)",
        )),
        ("1,0,8\n1,1,4", "1,0,9\n1,1,3", (
            ":2: layer 1, expert 0: expert 0 gets 9 of 8 tokens; a token goes to an expert once",
        )),
        ("tokens", "count", (
            ":1: found layer, expert, count; must be a header with layer, expert, tokens, or a "
            "JSON list of lists",
        )),
        (CSV, "", (
            ":1: found nothing; must be a header with layer, expert, tokens, or a JSON list of "
            "lists",
        )),
        (CSV[19:], "", (": found a header alone; must have a line for every expert",)),
        ('1,2,2', '"1,2,2', (": not a CSV: unexpected end of data",)),
    ],
)  # fmt: skip
def test_a_mistake_in_a_csv_has_its_place(tmp_path: Path, old: str, new: str, said: Any) -> None:
    """The file, the line, the layer and the expert; what was found, and what is allowed."""
    assert old in CSV
    found = lines(written(tmp_path, CSV.replace(old, new)))
    assert [line.rpartition("counts.txt")[2] for line in found] == [*said]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([*TABLE, TABLE[0]], (
            ": found 3 rows; 2 layers have experts: a row each, or one for all",
        )),
        ([TABLE[0], [2, 2, 8]], (
            ": row 1: found 3 numbers; the model has 4 experts: the tokens of each",
        )),
        ([[8, -4, 2.5, "2"], TABLE[1]], tuple(
            f": row 0, expert {expert}: found {found}; must be a whole number from 0 to 1e15"
            for expert, found in enumerate(("-4", "2.5", "'2'"), 1)
        )),
        ([TABLE[0], [2, 2, 8, 6]], (
            ": row 1: adds up to 18; every row must add up to the same number of tokens times 2 "
            "(row 0: 16)",
        )),
        (TABLE[0], (
            *(f": row {i}: found {n}; must be a list of every expert's tokens"
              for i, n in enumerate(TABLE[0])),
        )),
        ({"1": TABLE[0]}, (
            ": found a mapping; must be a list with a row for every layer with experts: the "
            "tokens of each expert",
        )),
        ([], (
            ": found an empty list; must be a list with a row for every layer with experts: the "
            "tokens of each expert",
        )),
    ],
)  # fmt: skip
def test_a_mistake_in_a_matrix_has_its_place(tmp_path: Path, data: Any, said: Any) -> None:
    """The file, the row and the expert."""
    found = lines(written(tmp_path, json.dumps(data)))
    assert [line.rpartition("counts.txt")[2] for line in found] == [*said]


def test_a_file_of_another_kind_is_refused_in_a_few_lines(tmp_path: Path) -> None:
    """Not in one for each of its own."""
    found = lines(written(tmp_path, "layer,expert,tokens\n" + "a,b,c\n" * 1000))
    assert len(found) == 6
    assert found[-1].endswith("counts.txt: and 2995 more")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("workload.routing.table=[[8, 4, 2, 2]]",
         "a file holds the whole table; leave this key out, or the file"),
        ("workload.routing.file=none.csv",
         "found no file 'none.csv'; looked beside the scenario and in the working directory"),
        ("workload.routing.file=3", "found 3; must be the name of a file"),
        ("workload.routing.kind=balanced",
         "found 'balanced', and there is a table; leave kind out, or the table"),
        ("workload.routing={table: [[8, 4, 2, 2]], layers: [1, 2]}",
         "found 2 layers; the table has 1 rows: one each"),
        ("workload.routing={table: [[8, 4, 2, 2], [4, 4, 4, 4]], layers: [1, 1]}",
         "found 1 again; a layer has one row"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_with_a_file_are_refused(
    tmp_path: Path, override: str, said: str
) -> None:
    """With the override that has them."""
    found = lines(written(tmp_path, CSV), override)
    assert any(line.startswith("override 'workload.routing") and said in line for line in found)
