"""Logs of nccl-tests in all forms that it has: the same times give the same profile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("scipy", reason="the fits need scipy: pip install '.[calibrate]'")

from tspsim.calibrate.imports import nccl_tests, profile
from tspsim.cli.app import app

#: After the printing code of nccl-tests 2.17: the same times in every file.
LOGS = Path(__file__).parent / "data" / "nccl"
FORMS = ["both-places.txt", "in-place-only.txt", "per-iteration.txt", "version-2.json"]

TEXT = (LOGS / "per-iteration.txt").read_text(encoding="utf-8").splitlines()
LINES = [i for i, line in enumerate(TEXT) if not line.startswith("#") and line]
JSON = json.loads((LOGS / "version-2.json").read_text(encoding="utf-8"))


def fitted(path: Path) -> dict[str, Any]:
    """Return what is fitted to a log, less its name."""
    logs = nccl_tests.read(path)
    found = profile.document([log.calls("h100-node", None, 0) for log in logs], "h100-node", "x")
    del found["fits"]["all_reduce"]["source"]
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """Return what is fitted to the plain form."""
    return fitted(LOGS / FORMS[0])


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_same_times_gives_the_same_profile(
    name: str, expected: dict[str, Any]
) -> None:
    """Blank blocks, ``N/A``, columns per iteration; null, ``"nan"`` and booleans as texts."""
    assert fitted(LOGS / name) == expected
    assert expected["fits"]["all_reduce"]["rows"] == 24
    assert expected["fits"]["all_reduce"]["error"] < 0.001
    assert expected["protocols"][0]["collective"] == "all_reduce"


PLAIN = (LOGS / FORMS[0]).read_text(encoding="utf-8")

#: What Open MPI, ssh and libraries say in between, and the mark that a launcher puts before lines.
SAID = "Warning: Permanently added 'node-1' to the list of known hosts.\n\n------\n2 variables\n"
MARKS = ["[1,0]<stdout>:", "[prterun-node-0-83@1,0]<stdout>: ", "0: ",
         "(head, rank=0, pid=3808) [1,0]<stdout>:"]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_what_launchers_add_is_passed_over(
    tmp_path: Path, expected: dict[str, Any], mark: str
) -> None:
    """Marks in front of lines, warnings before and between them, and the programs' MPI suffix."""
    lines = PLAIN.replace("_perf", "_perf_mpi").splitlines()
    (tmp_path / "log").write_text(
        SAID.replace("2 variables", "Two variables")
        + "".join(f"{mark}{line}\n[1,1]<stderr>:x: No protocol\n" for line in lines),
        encoding="utf-8",
    )
    assert fitted(tmp_path / "log") == expected


def test_columns_of_older_versions_are_read(tmp_path: Path, expected: dict[str, Any]) -> None:
    """Up to 2.11 there was the largest error in place of a number of wrong values, and no root."""
    old = PLAIN.replace("#wrong", " error").replace("   root", "")
    old = re.sub(r"(float +sum) +-1(.*) 0( .*) 0$", r"\1 \2 2e-07\3 5e-07", old, flags=re.M)
    (tmp_path / "log").write_text(old, encoding="utf-8")
    assert fitted(tmp_path / "log") == expected
    assert "2e-07" in old
    gather = re.sub(r"(float) +sum", r"\1", old.replace("all_reduce", "all_gather"))
    (tmp_path / "log").write_text(gather.replace("redop", ""), encoding="utf-8")
    assert fitted_kinds(tmp_path / "log") == ["all_gather"]


def test_collectives_one_after_another_in_a_file_are_all_taken(tmp_path: Path) -> None:
    """As a loop over the programs leaves them; the same one twice is refused."""
    both = PLAIN + PLAIN.replace("all_reduce", "reduce_scatter")
    (tmp_path / "log").write_text(both, encoding="utf-8")
    assert fitted_kinds(tmp_path / "log") == ["all_reduce", "reduce_scatter"]


def fitted_kinds(path: Path) -> list[str | None]:
    """Return the collectives of a log that has the rows for each."""
    logs = nccl_tests.read(path)
    assert len({log.rows[0][1:] for log in logs}) == 1
    assert [len(log.rows) for log in logs] == [24] * len(logs)
    return [log.collective for log in logs]


def test_groups_of_ranks_that_work_apart_count_as_one() -> None:
    """With NCCL_TESTS_SPLIT a collective has the ranks of its group."""
    config = JSON["config"]
    devices = [{"rank": i, "group": i % 2} for i in range(8)]
    assert nccl_json_ranks(config | {"ngpus": 1, "devices": devices}) == 4
    assert nccl_json_ranks(config) == 8
    assert nccl_json_ranks(config | {"devices": [{"rank": 0}, {"rank": 8}]}) == 16


def nccl_json_ranks(config: dict[str, Any]) -> int:
    """Return the ranks of a file with another set-up."""
    from tspsim.calibrate.imports import nccl_json

    return nccl_json.read(json.dumps(JSON | {"config": config}), "log").ranks


def text(*lines: str) -> str:
    """Return a log of some lines."""
    return "\n".join([*lines, ""])


def without(key: str) -> str:
    """Return the JSON without a key."""
    return json.dumps({k: v for k, v in JSON.items() if k != key})


def altered(**changes: Any) -> str:
    """Return the JSON with other keys."""
    return json.dumps(JSON | changes)


ROW, LAST = LINES[3], LINES[-1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (text(*TEXT[:ROW], TEXT[ROW][:60]), rf"log:{ROW + 1}: found '8192 .*'; .* cut here\?"),
        (text(*TEXT[:ROW], TEXT[ROW][:120]), rf"log:{ROW + 1}: found '8192 .*'; .* cut here\?"),
        (text(*TEXT[: ROW + 1]), rf"log:{ROW + 1}: ends before '# Avg bus bandwidth', .*alone"),
        (text(*TEXT, *TEXT), rf"log:{len(TEXT) + 2}: a second run begins; .* line 2: split"),
        (text(*TEXT[:12], TEXT[8], *TEXT[12:]), r"log:13: rank 2 a second time.* mixed numbers"),
        (text(*TEXT[:8], *TEXT[9:]), r"log: rank 2 is not listed among 7 ranks"),
        (text(*TEXT).replace("Rank  7", "Rank  7000000000000"), r"log: rank 7 is not listed among"),
        (text(*TEXT[:9], TEXT[9].replace("Group  0", "Group  1"), *TEXT[10:]),
         r"log: mixed numbers of ranks \(7 of group 0, 1 of group 1\)"),
        (text(*TEXT).replace("values : 0 OK", "values : 3 FAILED"), r"log:\d+: 3 wrong values"),
        (text(*TEXT).replace("   time", "cputime"), r"log:\d+: 'cputime' .* without '-C 1'"),
        (text(*TEXT).replace("i_max", "impl "), r"log:\d+: unknown column 'impl'"),
        (altered(version=1), r"log: version: found 1; 2 is known here, .*: give what it prints"),
        (altered(version="2"), r"log: version: found '2'"),
        (without("version"), r"log: version: there is none"),
        (without("average_bus_bandwidth"), r"no 'average_bus_bandwidth', so the run was cut"),
        (json.dumps(JSON)[:-900], r"log:1:\d+: not valid JSON: .* was the file cut\?"),
        (altered(out_of_bounds={"count": 7, "okay": "false"}), r"out_of_bounds.count: 7 wrong"),
        (altered(config=JSON["config"] | {"devices": [{"rank": 0}, {"rank": 4}]}),
         r"log: config.devices: mixed numbers of ranks \(ranks 0, 4 with 8 a process\)"),
        (altered(results=[JSON["results"][0] | {"in_place": {"cpu_time": 3.0}}]),
         r"log: results.0.in_place.cpu_time: is the host's time; run it without '-C 1'"),
        (altered(results=[JSON["results"][0] | {"in_place": {"time": "nan"}}]),
         r"log: results.0.in_place.time: a time is above 0, found nan"),
        (altered(results=[JSON["results"][0] | {"in_place": {"time": 10**400}}]),
         r"log: not the JSON that nccl-tests writes with -J \(OverflowError"),
    ],
)  # fmt: skip
def test_a_log_that_is_not_whole_is_refused(tmp_path: Path, content: str, told: str) -> None:
    """With its line or its key, and what to do; exit code 2, and nothing is written."""
    (tmp_path / "log").write_text(content, encoding="utf-8")
    words = [str(tmp_path / "log"), "--topology", "h100-node", "-o", str(tmp_path / "p.yaml")]
    done = CliRunner().invoke(app, ["calibrate", "import", "nccl-tests", *words])
    assert done.exit_code == 2
    assert not (tmp_path / "p.yaml").exists()
    assert re.search(told, " ".join(done.output.split())), done.output


def test_logs_of_different_numbers_of_ranks_are_refused(tmp_path: Path) -> None:
    """A profile is of one number of ranks; both files are named."""
    other = (LOGS / "both-places.txt").read_text(encoding="utf-8")
    other = re.sub(r"#  Rank  [4-7].*\n", "", other).replace("all_reduce_perf", "all_gather_perf")
    (tmp_path / "other").write_text(other, encoding="utf-8")
    logs = [str(LOGS / FORMS[0]), str(tmp_path / "other")]
    words = [*logs, "--topology", "h100-node", "-o", str(tmp_path / "p.yaml")]
    done = CliRunner().invoke(app, ["calibrate", "import", "nccl-tests", *words])
    assert done.exit_code == 2
    assert re.search(r"other: is of 4 ranks, \S+txt of 8", " ".join(done.output.split()))
    assert not (tmp_path / "p.yaml").exists()
