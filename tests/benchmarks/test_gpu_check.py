"""The check on a GPU collects what a machine lacks, goes on where it was stopped, and tells errors
of rounding from wrong numbers. The parts themselves are rehearsed on the CPU by
``python -m benchmarks.gpu_check run --tiny``."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from benchmarks.gpu_check import part, schedule
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.correctness import acceptable, errors
from benchmarks.gpu_check.packing import Collected, PackingError, pack, read_present
from benchmarks.gpu_check.report import report
from benchmarks.gpu_check.schedule import PARTS, Part, run_parts
from benchmarks.gpu_step.checkpoint import save_checkpoint
from benchmarks.gpu_step.shapes import SHAPES, small
from packaging.requirements import Requirement


def save_wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    information = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{information}/METADATA", "\n".join(lines) + "\n\n")
        wheel.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{information}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels from which pip takes everything."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    save_wheel(folder, "lamp", "1.0", "bulb[warm]>=1", "present>=2", 'old; python_version < "3.12"')
    save_wheel(folder, "bulb", "1.0")
    save_wheel(folder, "bulb", "2.0", 'glow; extra == "warm"', 'cold; extra == "cold"')
    save_wheel(folder, "glow", "1.0", "bulb<2")
    return folder


def collect(tmp_path: Path, present: str, *needed: str) -> list[str]:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    collected = Collected(wheels, read_present(present), "3.12")
    collected.add_all("syngrpo", [Requirement(one) for one in needed])
    return sorted("-".join(wheel.name.split("-")[:2]) for wheel in wheels.glob("*.whl"))


def test_what_the_machine_lacks_is_collected_with_what_that_needs(
    tmp_path: Path, index: Path
) -> None:
    # glow wants an older bulb than the newest, which was there first.
    wanted = ["bulb-1.0", "glow-1.0", "lamp-1.0"]
    assert collect(tmp_path, "present==2.5  # as pip says\n", "lamp") == wanted


def test_a_version_of_the_machine_that_does_not_do_is_named(tmp_path: Path, index: Path) -> None:
    with pytest.raises(PackingError, match=r"lamp needs present>=2, and the machine has present 1"):
        collect(tmp_path, "Present==1\n", "lamp")


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path, index: Path) -> None:
    with pytest.raises(PackingError, match="window"):
        collect(tmp_path, "", "window")


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
def test_a_second_call_goes_on_with_the_parts_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        schedule,
        "PARTS",
        {
            "first": Part("done in an earlier call", 1, 9),
            "unknown": Part("fails at once", 1, 60),
            "long": Part("needs more time than is left", 1000, 9000),
        },
    )
    (tmp_path / "first.json").write_text('{"state": "done"}')
    for _ in range(2):  # what has failed is tried again
        assert run_parts(tmp_path, tmp_path / "wheels", [], minutes=2, tiny=True) == 1
        said = capsys.readouterr().out
        assert "first: done before" in said and "long: left for the next call" in said
        assert "unknown: failed, exit status 2" in said
    assert result(tmp_path, "first") == {"state": "done"}
    assert "invalid choice: 'unknown'" in result(tmp_path, "unknown")["output"]
    assert not (tmp_path / "long.json").exists()
    text = report(dict.fromkeys(PARTS) | {"demo": result(tmp_path, "unknown")})
    assert "| demo | The demo, whole | failed |" in text and "not measured" in text


def test_a_part_on_a_machine_without_a_gpu_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["part", "demo", str(tmp_path / "demo.json"), "60"])
    with pytest.raises(SystemExit, match="finds no GPU; run --tiny rehearses on the CPU"):
        part.main()
    assert not list(tmp_path.iterdir())


def test_no_part_is_begun_on_a_machine_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "broken.whl").touch()  # would be installed, which takes time, before the first part
    with pytest.raises(SystemExit, match=r"error: torch \S+ finds no GPU; run --tiny rehearses"):
        run_parts(tmp_path / "results", wheels, [], minutes=9)
    assert not list((tmp_path / "results").iterdir()) and not capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ours_is_as_near_to_float32_as_plain_transformers(tmp_path: Path, dtype: str) -> None:
    save_checkpoint(small(SHAPES["qwen3-vl-4b"]), tmp_path, torch.device("cpu"))
    found = errors(tmp_path, dtype, torch.device("cpu"), new_tokens=8)
    assert acceptable(found)
    for wrong in ("logprobs", "grad"):
        assert not acceptable(found | {wrong: 0.3})
    assert not acceptable(found | {"graphs_sample_the_same": False})


def test_packing_that_fails_leaves_the_wheels_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "check" / "wheels"
    wheels.mkdir(parents=True)
    save_wheel(wheels, "lamp", "1.0")
    with pytest.raises(PackingError, match=r"no file .*present\.txt; give .* with --present"):
        pack(wheels, tmp_path / "present.txt", "3.12")
    (tmp_path / "present.txt").write_text("torch\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # no setuptools to build with
    with pytest.raises(PackingError, match=r"pip wheel .* failed"):
        pack(wheels, tmp_path / "present.txt", "3.12")
    assert [path.name for path in wheels.parent.rglob("*")] == [
        "wheels",
        "lamp-1.0-py3-none-any.whl",
    ]


def test_a_result_that_is_cut_off_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "PARTS", {"long": Part("needs more than is left", 1000, 9000)})
    (tmp_path / "long.json").write_text('{"state": "do')
    assert run_parts(tmp_path, tmp_path / "wheels", [], minutes=2, tiny=True) == 0
    assert "long: left for the next call" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, r"results has no result of any part; first: "), ("{", r"demo\.json cannot be read")],
)
def test_a_report_on_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, told: str
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_check", "report", "--folder", str(tmp_path)])
    if content is not None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "demo.json").write_text(content)
    with pytest.raises(SystemExit, match=told):
        main()


@pytest.mark.parametrize("command", ["pack", "run"])
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        "sys.argv", ["gpu_check", command, "--folder", str(tmp_path / "file" / "x")]
    )
    with pytest.raises(SystemExit, match=r"error: .*file.*with --folder"):
        main()
