"""Every mistake that a user can make has a message with its place, exit code 2, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tspsim.cli.app import app
from tspsim.files.errors import ScenarioError
from tspsim.scenario import load

BAD = Path(__file__).parent / "data" / "bad"
NAMES = sorted(path.stem for path in BAD.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_bad_file_is_refused_with_the_message_beside_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says on stderr exactly what stands in the .txt, and nothing on stdout."""
    monkeypatch.chdir(BAD)
    result = CliRunner().invoke(app, ["run", f"{name}.yaml"])
    assert result.stderr == (BAD / f"{name}.txt").read_text(encoding="utf-8")
    assert (result.exit_code, result.stdout) == (2, "")


def test_every_message_belongs_to_a_bad_file() -> None:
    """No message is left over from a file that is gone."""
    assert sorted(path.stem for path in BAD.glob("*.txt")) == NAMES


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """A folder's name is told from a file's."""
    with pytest.raises(ScenarioError, match=r"is a directory, not a file$"):
        load(tmp_path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A scenario that is nowhere is said to be nowhere."""
    with pytest.raises(ScenarioError, match=r"found no file '.*nowhere\.yaml'"):
        load(tmp_path / "nowhere.yaml")


def test_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    """50 GB of YAML cannot be a scenario; its first MiB says so."""
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 10**9)
    with pytest.raises(ScenarioError, match=r"at most 1 MiB is read, and it is longer"):
        load(path)


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system says is passed on."""
    path = tmp_path / "secret.yaml"
    path.write_text("name: secret\n")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ScenarioError, match=r"secret\.yaml: cannot be read: Permission denied"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# two\nname: M\xfcnchen\n".encode("latin-1"), ":2: byte 0xfc is not UTF-8 text"),
        (b"name: a\x00b\n", ":1:8: not valid YAML: control character U+0000"),
    ],
)
def test_file_that_is_no_text_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Another encoding, or no text at all: the place of the first wrong byte is told."""
    path = tmp_path / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{message}"


def test_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    """A hundred thousand open brackets end in a message, not in a crash."""
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 100_000)
    with pytest.raises(ScenarioError, match=r"deep\.yaml: nested too deeply"):
        load(path)


SIZES = "hidden: 64, layers: 2, heads: 8, ffn: 128, vocab: 256"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("strategy.degre=4", "strategy.degre: unknown key (did you mean 'degree'?)"),
        ("strategy.degree=four", "strategy.degree: found 'four'; must be an integer"),
        ("model.window=[]", "model.window: found a list; must be a list of at least 1"),
        ("model.window=[4, 0]", "model.window.1: found 0; must be a number of at least 1"),
        ("model.window=x", "model.window: found 'x'; must be an integer"),
        ("model.rotary=3", "model.rotary: found 3; must be even, at most the head_dim of"),
        (
            f"model={{{SIZES}, gate: gelu, mlp: plain}}",
            "model.gate: found 'gelu'; a plain MLP has no gate",
        ),
        (
            f"model={{{SIZES}, qk_norm: whole, norm: layernorm}}",
            "model.qk_norm: found 'whole' with norm:",
        ),
        ("model.score_cap=0", "model.score_cap: found 0; must be a number greater than 0"),
        ("model.layers=1000000", "model.layers: found 1000000; at most 16384 are simulated"),
        ("workload.micro_batches=100000", "workload.micro_batches: found 100000; at most"),
        ("workload.sequence=x1e400", "workload.sequence: found 6400000"),
        ("model.ffn=x1e400", "model.ffn: found 12800000"),
        ("topology.link.bandwidth=1e-300 B/s", "topology.link.bandwidth: '1e-300 B/s' is not a"),
        ("topology.link.latency=1e300 s", "topology.link.latency: '1e300 s' is not a quantity"),
        (f"topology.link.latency=1{'0' * 400}", "topology.link.latency: '1000"),
        ("optimizer.temporary=1e300", "optimizer.temporary: found 1e+300; must be a number of at"),
        (f"topology.file={'x' * 5000}", "topology.file: found no file 'xxx"),
        (f"topology.device={'x' * 5000}", "topology.device: found no file 'xxx"),
        ("strategi.degree=4", "strategi: unknown key (did you mean 'strategy'?)"),
        ("strategy.kind=tp", "strategy.slots: unknown key"),
        ("topology.link.bandwidth=50", "topology.link.bandwidth: '50' is not a quantity in B/s"),
        ("model.hidden.width=3", "'model.hidden' is 64 and has no key 'width'"),
        ("workload.sequence", "must be key=value with a dotted key"),
        ("=4", "must be key=value with a dotted key"),
        ("a..b=4", "must be key=value with a dotted key"),
        ("workload.sequence=", "has no value after the '='"),
        ("topology.shape=[2, 4", "not valid YAML"),
    ],
)
def test_bad_override_is_named(override: str, message: str, tmp_path: Path) -> None:
    """The message begins with the override as it was typed, where a file's place would stand."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    with pytest.raises(ScenarioError) as caught:
        load(path, [override])
    lines = str(caught.value).splitlines()
    place = f"{path}:13:3: " if override == "strategy.kind=tp" else f"override '{override}': "
    assert any(line.startswith(f"{place}{message}") for line in lines), lines


GOOD = """\
model: {hidden: 64, layers: 2, heads: 8, kv_heads: 4, ffn: 128, vocab: 256}
workload:
  sequence: 64
topology:
  kind: ring
  ranks: 4
  link: {bandwidth: 50 GB/s, latency: 1 us}
  device: h100-sxm

strategy:
  kind: tsp
  degree: 4
  slots: 3
"""


def test_replacing_only_the_kind_of_a_strategy_says_how_to_replace_it_all(tmp_path: Path) -> None:
    """Options of the old kind are not dropped in silence."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"write the override strategy=\{kind: ..., ...\}"):
        load(path, ["strategy.kind=tp"])
    assert load(path, ["strategy={kind: tp, degree: 4}"]).strategy.kind == "tp"


def test_mistakes_of_file_and_overrides_are_told_together(tmp_path: Path) -> None:
    """Nobody has to run five times to hear five mistakes."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("sequence: 64", "sequenze: 64"))
    with pytest.raises(ScenarioError) as caught:
        load(path, ["model.layers=0", "name.first=x", "strategy.degree=3"])
    assert len(caught.value.lines) == 4
    text = str(caught.value)
    assert "sequenze" in text
    assert "override 'model.layers=0'" in text
    assert "override 'name.first=x'" in text
    assert "makes 3 ranks" in text


@pytest.mark.parametrize(
    "command", ["run", "show", "plot --kind gantt", "report", "compare", "export -o x.csv"]
)
def test_a_name_too_long_for_any_file_is_refused(command: str) -> None:
    """What the operating system refuses to look up is the user's mistake, and is named."""
    name, (verb, *options) = "x" * 5000, command.split()
    result = CliRunner().invoke(app, [verb, name, *options])
    assert result.exit_code == 2
    assert name in result.stderr


def test_a_name_is_shown_as_it_is(tmp_path: Path) -> None:
    """What a table could take for a colour or a picture is text."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = CliRunner().invoke(app, ["run", str(path), "name=':smile: [/bold] [red]x'"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert ":smile: [/bold] [red]x" in result.stdout


def test_a_strategy_that_is_no_strategy_is_an_invalid_point_of_a_sweep(tmp_path: Path) -> None:
    """Nothing, in place of a strategy's keys, is told as the point's mistake."""
    study = tmp_path / "study.yaml"
    (tmp_path / "good.yaml").write_text(GOOD)
    study.write_text("scenario: good.yaml\naxes: {strategy: [null, 3], strategy.dp: [1]}\n")
    result = CliRunner().invoke(app, ["sweep", str(study)])
    assert result.exit_code == 2
    assert "points; say where their results go" in result.stderr
