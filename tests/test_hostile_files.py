"""What is no file, is torn, or is somebody else's: a message with its place, and exit code 2."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app
from tspsim.files.reading import UnreadableError, parse_json, read_bytes
from tspsim.sweeps.store import FILE

SMALL = """\
model: {hidden: 64, layers: 1, heads: 8, kv_heads: 4, ffn: 128, vocab: 256}
workload: {sequence: 64}
topology: {kind: ring, ranks: 2, link: {bandwidth: 50 GB/s, latency: 1 us}, device: h100-sxm}
strategy: {kind: tsp, degree: 2}
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Nothing here takes long; what would wait for ever fails."""

    def late(*_: object) -> None:
        raise AssertionError("waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def call(*arguments: object) -> Result:
    """Run a command of the command line."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(result: Result, *said: object) -> None:
    """Hold the end of a command against what a mistake of the user's should give."""
    assert result.exit_code == 2, (result.exit_code, result.exception, result.output)
    assert isinstance(result.exception, SystemExit)
    for each in said:
        assert str(each) in result.stderr


# ---- what is no file -----------------------------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _folder(path: Path) -> None:
    path.mkdir()


MAKERS = {"a pipe": _pipe, "a device": _device, "a socket": _socket, "a directory": _folder}


@pytest.fixture(params=MAKERS)
def special(request: pytest.FixtureRequest) -> tuple[str, Callable[[Path], None]]:
    """Return what something is called that is no file, and what makes it."""
    return request.param, MAKERS[request.param]


Special = tuple[str, Callable[[Path], None]]


@pytest.mark.parametrize(
    "command", [["run"], ["show"], ["check"], ["explain"], ["goodput"], ["plan"],
                ["serve", "--arrivals=1/s", "--prompt=8", "--new-tokens=8"],
                ["sweep", "workload.sequence=64"], ["compare", "strategy=tsp,tp"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_scenario_that_is_no_file_is_refused(
    command: list[str], special: Special, tmp_path: Path
) -> None:
    """Before a byte of it is read: a pipe gives none, a device gives them for ever."""
    kind, make = special
    path = tmp_path / "scenario.yaml"
    make(path)
    if (command[0], kind) == ("explain", "a directory"):
        return  # a folder of a result is asked for
    refused(call(command[0], path, *command[1:]), f"{path}: is {kind}, not a file")


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", "{hf: NAME}"), ("topology", "{file: NAME}"), ("topology.device", "NAME"),
     ("timing", "{profile: NAME}"), ("topology", "{extends: NAME}")],
)  # fmt: skip
def test_a_named_file_that_is_none_is_refused(
    key: str, value: str, special: Special, tmp_path: Path
) -> None:
    """Models, topologies, devices and profiles are read as scenarios are."""
    kind, make = special
    (tmp_path / "scenario.yaml").write_text(SMALL)
    make(tmp_path / "other.yaml")
    told = f"{key}={value.replace('NAME', 'other.yaml')}"
    folder = (key, kind) == ("model", "a directory")  # of Hugging Face, perhaps
    message = "holds no config.json" if folder else f"other.yaml: is {kind}"
    refused(call("run", tmp_path / "scenario.yaml", told), message)


def test_a_study_names_a_scenario_that_is_no_file(special: Special, tmp_path: Path) -> None:
    """Through the study as by itself."""
    _, make = special
    make(tmp_path / "other.yaml")
    study = tmp_path / "study.yaml"
    study.write_text("scenario: other.yaml\naxes: {workload.sequence: [64]}\n")
    result = call("sweep", study, "-o", tmp_path / "out")
    refused(result, "other.yaml")


def test_a_topology_of_its_own_that_is_no_file_is_refused(special: Special, tmp_path: Path) -> None:
    """The command that needs no scenario reads files in the same way."""
    kind, make = special
    make(tmp_path / "t.yaml")
    result = call("collective", "all_reduce", "--topology", tmp_path / "t.yaml")
    refused(result, "a folder" if kind == "a directory" else f"is {kind}, not a file")


@pytest.mark.parametrize(
    "command",
    [["plot", "--kind", "gantt"], ["report"], ["explain"]],
    ids=lambda command: command[0],
)
def test_a_result_that_is_no_file_is_refused(
    command: list[str], special: Special, tmp_path: Path
) -> None:
    """In the place of result.json there may be anything."""
    kind, make = special
    make(tmp_path / "result.json")
    refused(call(command[0], tmp_path, *command[1:]), f"result.json: is {kind}, not a file")


@pytest.mark.parametrize("name", [FILE, f".{FILE}.lock"])
def test_a_store_that_is_no_file_is_refused(name: str, special: Special, tmp_path: Path) -> None:
    """And so is its lock, which a writer would wait at."""
    kind, make = special
    out = tmp_path / "out"
    out.mkdir()
    if name != FILE:
        sqlite3.connect(out / FILE).close()
        (out / FILE).touch()
    make(out / name)
    (tmp_path / "s.yaml").write_text(SMALL)
    sweep = call("sweep", tmp_path / "s.yaml", "workload.sequence=64", "-o", out, "--jobs", 1)
    refused(sweep, f"{name}: is {kind}, not a file")
    if name == FILE:
        for command in (["export", out], ["report", out], ["plot", out, "--kind", "lines"]):
            refused(call(*command), f"is {kind}, not a file")


@pytest.mark.parametrize("name", ["machine.json", "rows.jsonl"])
def test_rows_that_are_no_file_are_refused(name: str, special: Special, tmp_path: Path) -> None:
    """What a calibration reads is read in the same way."""
    pytest.importorskip("scipy", reason="fitting needs scipy")
    kind, make = special
    machine = {
        "version": 1, "device": "d", "cores": 2, "memory": 1, "system": "s", "versions": {},
        "backend": "gloo", "link": "loopback", "rate": None,
    }  # fmt: skip
    (tmp_path / "machine.json").write_text(json.dumps(machine))
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    result = call("calibrate", "fit", tmp_path, "-o", tmp_path / "p.yaml")
    refused(result, f"{name}: is {kind}, not a file")


def test_what_is_read_is_counted_not_what_the_system_tells() -> None:
    """Files of the kernel have no size, and hold something."""
    assert Path("/proc/self/status").stat().st_size == 0
    assert read_bytes(Path("/proc/self/status"))
    with pytest.raises(UnreadableError, match="at most 0 MiB is read, and it is longer"):
        read_bytes(Path("/proc/self/status"), most=10)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "x/" * 3000])
@pytest.mark.parametrize("command", ["run", "plot", "report", "explain", "export", "compare"])
def test_what_cannot_be_the_name_of_a_file_is_refused(command: str, name: str) -> None:
    """Too long, or with a zero byte: it is not there."""
    more = {"plot": ["--kind", "gantt"], "compare": ["strategy=tsp,tp"]}.get(command, [])
    refused(call(command, name, *more))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "x:1:2: not valid JSON"),
        ("{}\n]", "x:2:1: not valid JSON"),
        ("[" * 100_000, "x: nested too deeply"),
        ("[" * 900 + '"\\u001b"' + "]" * 900, "x: "),
        ("[NaN]", "x: NaN is not a finite number"),
        ("[1e999]", "x: 0: inf is not a finite number"),
        ("9" * 5000, "x: not valid JSON"),
        ('{"a": ["\\u001b[2J"]}', "x: a.0: holds control character U+001B"),
        ('{"a\\nb": 1}', "holds control character U+000A"),
        ('["\x9b"]', "x: 0: holds control character U+009B"),
        ('["\\ud800"]', "x: 0: holds control character U+D800"),
    ],
)
def test_json_that_is_none_is_told_with_its_place(text: str, said: str) -> None:
    """Also what Python's reader would let pass."""
    with pytest.raises(UnreadableError) as caught:
        parse_json(text, "x")
    assert said in str(caught.value)


#: What reads without `tspsim.files.reading`: what the kernel tells, what tspsim's own processes
#: hand to each other, and what ships with the package.
OWN = {
    "calibrate/measure/machine.py", "calibrate/measure/rank.py", "calibrate/measure/supervise.py",
    "calibrate/oracle/__main__.py", "calibrate/oracle/answer.py", "cli/lists.py", "cli/version.py",
    "files/reading.py", "output/chakra/schema.py", "reports/html/page.py",
}  # fmt: skip


def test_whatever_users_name_is_read_in_one_place() -> None:
    """A new reader goes through the module that refuses pipes and devices."""
    package = Path(tspsim.__file__).parent
    reads = re.compile(r"\.read_text\(|\.read_bytes\(|json\.load\(")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if reads.search(path.read_text(encoding="utf-8"))
    }
    assert found <= OWN


# ---- what is torn, or somebody else's ------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a scenario, a sweep of it and a result."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "s.yaml").write_text(SMALL)
    axes = ("workload.sequence=64,128", "strategy=tsp,tp")
    assert call("sweep", folder / "s.yaml", *axes, "-o", folder / "sweep", "--jobs", 1
                ).exit_code == 0  # fmt: skip
    assert call("run", folder / "s.yaml", "-o", folder / "run").exit_code == 0
    return folder


@pytest.fixture
def copied(swept: Path, tmp_path: Path) -> Path:
    """Return a copy to spoil."""
    shutil.copytree(swept, tmp_path / "it")
    return tmp_path / "it"


def readers(folder: Path) -> Iterator[Result]:
    """Yield what every command says that reads a sweep."""
    out = folder / "sweep"
    yield call("export", out)
    yield call("export", out, "--format", "json", "-o", folder / "table.json")
    yield call("report", out, "-o", folder / "report.html")
    yield call("plot", out, "--kind", "winner", "-o", folder / "map.png")
    yield call("sweep", folder / "s.yaml", "workload.sequence=64,128", "strategy=tsp,tp",
               "-o", out, "--jobs", 1)  # fmt: skip


def spoilt(sql: str) -> Callable[[Path], None]:
    """Return what changes a store by a statement."""

    def spoil(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute(sql)
        connection.close()

    return spoil


def _figure(key: str, value: str) -> Callable[[Path], None]:
    return spoilt(f"UPDATE points SET figures = json_set(figures, '$.\"{key}\"', {value})")  # noqa: S608


def _about(key: str, value: str) -> Callable[[Path], None]:
    return spoilt(f"UPDATE about SET value = '{value}' WHERE key = '{key}'")  # noqa: S608


SPOILS: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: os.truncate(path, 5000),
    "torn at a page": lambda path: os.truncate(path, 4096),
    "no database": lambda path: path.write_text("model: {}\n" * 500),
    "overwritten": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
    "no rows' table": spoilt("DROP TABLE points"),
    "no about": spoilt("DROP TABLE about"),
    "another column": spoilt("ALTER TABLE points RENAME COLUMN axes TO axis"),
    "no format": spoilt("DELETE FROM about WHERE key = 'format'"),
    "another format": _about("format", "7"),
    "a format that is no number": _about("format", "{}"),
    "about no JSON": _about("study", "{"),
    "a study that is none": _about("study", "[]"),
    "a study without axes": _about("study", '{"axes": {}, "scenario": {}}'),
    "a count that is none": _about("count", '"many"'),
    "a name that is none": _about("name", "[1]"),
    "a name with an escape": _about("name", '"a\\u001b[31m"'),
    "bytes": spoilt("UPDATE points SET figures = x'00ff'"),
    "no text": spoilt("UPDATE points SET axes = CAST(x'ff' AS TEXT)"),
    "no JSON": spoilt("UPDATE points SET axes = 'sequence'"),
    "an axis of 400 digits": spoilt(
        "UPDATE points SET axes = json_set(axes, '$.\"workload.sequence\"', json('1"
        + "0" * 400 + "'))"),
    "axes a list": spoilt("UPDATE points SET axes = '[]'"),
    "other axes": spoilt("UPDATE points SET axes = '{\"a\": 1}'"),
    "figures a number": spoilt("UPDATE points SET figures = '1'"),
    "figures missing": spoilt("UPDATE points SET figures = '{}'"),
    "a status of another": spoilt("UPDATE points SET status = 'fine'"),
    "a status with an escape": spoilt("UPDATE points SET status = char(27) || '[2J'"),
    "a status of bytes": spoilt("UPDATE points SET status = x'01'"),
    "a time that is text": _figure("step_time", "'fast'"),
    "a time of 400 digits": _figure("step_time", f"json('{10**400}')"),
    "a time that is true": _figure("step_time", "json('true')"),
    "no time": _figure("step_time", "NULL"),
    "an endless time": _figure("step_time", "json('1e999')"),
    "a verdict that is text": _figure("fits", "'yes'"),
    "a mesh that is a number": _figure("mesh", "8"),
    "an unknown column": _figure("evil", "1"),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILS)
def test_a_store_that_is_not_what_it_should_be_is_told(how: str, copied: Path) -> None:
    """By every command that reads it; none of them writes into it, and none shows a traceback."""
    path = copied / "sweep" / FILE
    SPOILS[how](path)
    for result in readers(copied):
        if how in ("empty", "no rows' table") and "4 of 4 points" in result.stderr:
            continue  # no more is lost: the sweep begins again
        refused(result, "sweep")
        assert "\x1b" not in result.output


def test_a_database_of_somebody_else_is_not_written_into(copied: Path) -> None:
    """A file that happens to have the name stays as it is, byte by byte."""
    path = copied / "sweep" / FILE
    path.unlink()
    spoilt("CREATE TABLE letters (text TEXT)")(path)
    before = path.read_bytes()
    for result in readers(copied):
        refused(result)
    assert path.read_bytes() == before


def test_a_row_of_no_point_is_told(copied: Path) -> None:
    """The report simulates the best point again, and this one is none of the study's."""
    spoilt("UPDATE points SET id = id + 1000")(copied / "sweep" / FILE)
    refused(call("report", copied / "sweep", "-o", copied / "r.html"), "is none of its study")


def _changed(**keys: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return change


RESULTS: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_text(""),
    "torn": lambda path: os.truncate(path, 300),
    "no text": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "a picture": lambda path: path.write_bytes((path.parent / "gantt.png").read_bytes()),
    "a list": lambda path: path.write_text("[]"),
    "another's": lambda path: path.write_text('{"name": "x", "version": 1}'),
    "deep": lambda path: path.write_text("[" * 100_000),
    "a document that is a list": _changed(document=[]),
    "an empty document": _changed(document={}),
    "a document of wrong types": _changed(document={
        "model": [], "workload": 1, "topology": "x", "strategy": None}),
    "a document with an escape": _changed(document={"name": "\x1b[2J"}),
    "an endless number": _changed(document={"model": {"hidden": float("inf")}}),
    "an unknown key": _changed(document={"modle": {}}),
}  # fmt: skip


@pytest.mark.parametrize("how", RESULTS)
def test_a_result_that_is_not_what_it_should_be_is_told(how: str, copied: Path) -> None:
    """By every command that reads a folder of a result, with the name of the file."""
    run = copied / "run"
    RESULTS[how](run / "result.json")
    for result in (
        call("plot", run, "--kind", "gantt"),
        call("report", run, "-o", copied / "r.html"),
        call("report", run, run, "-o", copied / "r.html"),
        call("explain", run, "--quick"),
        call("run", run / "result.json"),
    ):
        refused(result, "result.json")
        assert "\x1b" not in result.output
    # Of several candidates one that cannot run is a line of the table, with the reason.
    compared = call("compare", run, copied / "s.yaml")
    assert compared.exit_code == 2 or "s wins" in compared.output


def test_a_result_whose_scenario_has_no_name_is_not_written_over(copied: Path) -> None:
    """Whose it is cannot be said, so it is not replaced."""
    _changed(scenario=[])(copied / "run" / "result.json")
    refused(call("run", copied / "s.yaml", "-o", copied / "run"), "it has no 'scenario'")
