import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from syngrpo.cli.main import _fault_of_user
from syngrpo.cli.worker import worker
from syngrpo.data_server import workers
from syngrpo.data_server.synthesis_options import RemoteSettings
from syngrpo.sample import InputError

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "configs" / "demo.yaml")


def syngrpo(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "syngrpo", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_line(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr


USAGE = {
    (): "Missing command",
    ("trian",): "No such command 'trian'. Did you mean 'train'?",
    ("data",): "Missing command",
    ("train",): "Missing argument",
    ("train", DEMO, "--stpes", "3"): "No such option: --stpes",
    ("train", DEMO, "more"): "more",
    ("rooms", "show", "--out", "x.png", "--count", "0"): "greater than or equal to 1",
    ("rooms", "show", "--out", "x.png", "--count", "many"): "--count",
    ("evaluate", "--model", "starter"): "--data",
    ("evaluate", "--model", "m", "--data", "d", "--out", "o", "--prompt-style", "x"): "full",
}


@pytest.mark.parametrize("arguments", USAGE)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    assert_one_line(syngrpo(*arguments), USAGE[arguments])


def test_the_version_is_that_of_the_package() -> None:
    result = syngrpo("--version")
    assert (result.returncode, result.stdout) == (0, f"syngrpo {version('syngrpo')}\n")


def test_help_names_the_commands_and_imports_nothing_heavy() -> None:
    result = syngrpo("--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    for command in ("train", "evaluate", "report", "doctor", "data", "pool", "rooms"):
        assert command in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "transformers", "numpy", "PIL", "accelerate", "matplotlib"}


INPUT = {
    ("train", "gone.yaml"): "config file gone.yaml does not exist",
    ("train", DEMO, "--set", "trainer.step=3"): "did you mean trainer.steps?",
    ("train", DEMO, "--set", "trainer.steps"): "write it as section.key=value",
    ("train", DEMO, "--resume"): "--resume needs --run-dir",
    ("data", "check", "gone.jsonl"): "does not exist",
    ("rooms", "show", "--out", "x.png", "--split", "nowhere"): "nowhere",
    ("pool", "stats", "."): "there is no pool.db",
    ("report", "."): "run directory",
    ("report", "x" * 300): "cannot be used (File name too long)",
    ("data", "check", "x" * 300): "cannot be used (File name too long)",
    ("train", DEMO, "--run-dir", "x" * 300): "cannot be used (File name too long)",
}


@pytest.mark.parametrize("arguments", INPUT)
def test_wrong_input_is_one_line_and_status_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert_one_line(syngrpo(*arguments, cwd=tmp_path), INPUT[arguments])
    assert not list(tmp_path.iterdir())


def test_several_processes_need_a_run_directory(tmp_path: Path) -> None:
    assert_one_line(syngrpo("train", DEMO, cwd=tmp_path, WORLD_SIZE="2"), "--run-dir")


def test_rooms_can_be_written_checked_and_looked_at(tmp_path: Path) -> None:
    made = syngrpo("rooms", "write", "--split", "test", "--count", "4", "--out", tmp_path / "rooms")
    assert made.returncode == 0, made.stderr
    data = tmp_path / "rooms" / "data.jsonl"
    checked = syngrpo("data", "check", data)
    assert checked.returncode == 0 and "4 rec" in checked.stdout
    shown = syngrpo("rooms", "show", "--count", "7", "--size", "64", "--out", tmp_path / "s.png")
    assert shown.returncode == 0, shown.stderr
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (6 * 128, 2 * (128 + 44))


def test_a_bad_row_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n{\n")
    assert_one_line(syngrpo("data", "check", path), f"{path}:2: the line is not JSON")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "full.png").symlink_to("/dev/full")
    result = syngrpo("rooms", "show", "--count", "1", "--out", tmp_path / "full.png")
    assert_one_line(result, "the disk is full")


def test_doctor_says_what_the_machine_has() -> None:
    result = syngrpo("doctor")
    assert result.returncode == 0, result.stderr
    for word in ("python", "torch", "transformers", "cpu", "gpu", "disk here"):
        assert word in result.stdout


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    code = (
        "import syngrpo.cli.main as c\n@c.app.command()\n"
        "def boom(): raise KeyError('ours')\nc.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "boom"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "KeyError: 'ours'" in result.stderr


def test_a_worker_for_each_device_and_no_address_without_http(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[RemoteSettings] = []
    monkeypatch.setattr(workers, "run_workers", lambda settings, cluster: started.append(settings))
    worker("http://host:8420", devices="0, 1,2")
    worker("http://host:8420", workers=4, devices="0,1")
    worker("http://host:8420")
    found = [(settings.workers, settings.devices) for settings in started]
    assert found == [(3, ("0", "1", "2")), (4, ("0", "1")), (1, ())]
    with pytest.raises(InputError, match="workers 1 leaves some of the 2 devices without"):
        worker("http://host:8420", workers=1, devices="0,1")
    with pytest.raises(InputError, match="write it as http://host:port"):
        worker("host:8420")


def test_too_little_memory_of_a_device_is_told_with_what_to_do() -> None:
    import torch

    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB"
    )
    told = _fault_of_user(error)
    assert told is not None and "Tried to allocate 2.00 GiB); use a smaller model" in told
    assert _fault_of_user(RuntimeError("CUDA error")) is None
