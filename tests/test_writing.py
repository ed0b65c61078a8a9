"""Files are seen to have a place before any work, and are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tspsim.cli.app import app
from tspsim.files import writing
from tspsim.files.errors import OutputError

#: Every option that says where a file goes; PLACE stands for it, and its ending follows.
COMMANDS = (
    "explain tsp-layer --quick --why PLACE.png",
    "explain tsp-layer -o PLACE.svg",
    "compare tsp-layer strategy=tsp,tp -o PLACE.png",
    "plot tsp-layer --kind gantt -o PLACE.pdf",
    "plot tsp-layer --kind why -o PLACE.html",
    "goodput tsp-layer -o PLACE.png",
    "serve tsp-layer --arrivals 8/s --prompt 8 --new-tokens 8 -o PLACE.png",
    "collective all_reduce --topology h100-node --bytes 8..1KiB -o PLACE.png",
    "schedule 1f1b -o PLACE.csv",
    "plan tsp-layer -o PLACE.yaml",
    "plan llama3-70b-decode-h100-tsp -o PLACE.png",
    "export tsp-layer --format csv -o PLACE.csv",
    "export tsp-layer --format kineto -o PLACE.d",
    "report . -o PLACE.html",
    "new -o PLACE.yaml",
    "import megatron --back gpt3-175b-tp8 -o PLACE.yaml",
)
#: Folders that are made; what stands in the way is a file.
MAKING = (
    "run tsp-layer -o file/PLACE",
    "sweep tsp-layer workload.batch=1,2 -o file/PLACE",
    "calibrate measure -o file/PLACE",
    "calibrate measure -o rows --trace file/PLACE",
    "calibrate fit rows -o file/PLACE/p.yaml",
    "calibrate import kineto t.json --device h100-sxm -o file/PLACE/t.npz",
    "calibrate import nccl-tests a.log --topology h100-node -o file/PLACE/p.yaml",
    "validate rows --profile p.yaml -o file/PLACE",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a file in it, where nothing can be simulated."""
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tspsim.runner.simulate", None)
    return tmp_path


@pytest.mark.parametrize("command", [*COMMANDS, *MAKING])
def test_a_place_that_cannot_be_is_told_before_any_work(command: str, here: Path) -> None:
    """Nothing is simulated, printed or written."""
    ran = CliRunner().invoke(app, command.replace("PLACE", "no/x").split())
    told = "file is a file, no folder" if "file/" in command else "there is no folder no"
    assert (ran.exit_code, ran.stdout) == (2, ""), ran.exception
    assert ran.stderr.endswith(f": cannot be written: {told}\n")
    assert [path.name for path in here.iterdir()] == ["file"]


def test_a_folder_is_no_place_for_a_file_nor_is_what_is_not_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told as what it is."""
    with pytest.raises(OutputError, match="is a folder; a file is expected"):
        writing.check_file(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    for check in (writing.check_file, writing.check_folder):
        with pytest.raises(OutputError, match="x: may not be written by this user"):
            check(tmp_path / "x")


def test_an_interrupt_leaves_what_was_there(tmp_path: Path) -> None:
    """Nothing half-written is left beside it."""
    path = tmp_path / "x"
    path.write_text("old")

    def interrupted() -> None:
        with writing.whole(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_link_stays_one_and_a_device_is_written_into(tmp_path: Path) -> None:
    """What lies there is not put in the place of either."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "x")
    writing.write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "x").read_text() == "new"
    writing.write_text(Path("/dev/null"), "gone")
    assert not Path("/dev/null").is_file()
