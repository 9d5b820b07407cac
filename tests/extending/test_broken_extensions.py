"""What is wrong with a user's extension is one line that names it, before a run starts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from syngrpo.config import load_config
from syngrpo.extensions import Registry
from syngrpo.painting.describers import DESCRIBERS, described
from syngrpo.painting.generators import make_generator
from syngrpo.painting.judges.panel import make_judge
from syngrpo.policy.families import find_family
from syngrpo.sample import InputError
from syngrpo_rooms.dataset import rooms_samples

CONFIG = """\
model: {path: starter}
data: {train: [{format: rooms, split: train, count: 4}]}
synthesis: {generator: rooms, describer: rooms}
"""
SUPPORT = Path(__file__).parents[1] / "support"

NAMING = {
    "method.name": "method.name={}",
    "data.train.0.task": "data.train.0.task={}",
    "data.train.0.format": "data.train.0.format={}",
    "data.rewards.0": "data.rewards=[{{use: {}}}]",
    "synthesis.generator": "synthesis.generator={}",
    "synthesis.describer": "synthesis.describer={}",
    "synthesis.judges.more.0": "synthesis.judges.more=[{{use: {}}}]",
    "model.family": "model.family={}",
    "rollout.engine": "rollout.engine={}",
}
"""The key that a message begins with, and how the configuration names the extension."""
NO_EXTENSIONS = {
    "broken_module:name": "ZeroDivisionError: no table here, broken_module.py line 3",
    "script_module:name": "SystemExit: 3, script_module.py line 5",
    "no_such_module:name": "No module named 'no_such_module'",
    "broken_extensions:gone": "has no attribute 'gone'",
    "'broken_extensions:'": "write package.module:name",
    "':name'": "write package.module:name",
    "'.module:name'": "write package.module:name",
    "broken_extensions:NUMBER": "is no ",
}


def refusal(folder: Path, override: str) -> str:
    """Return why the configuration is refused with this override."""
    file = folder / "run.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_config(file, [override])
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{file}: ")


@pytest.mark.parametrize("name", NO_EXTENSIONS)
@pytest.mark.parametrize("key", NAMING)
def test_a_name_without_an_extension_is_refused_with_its_key(
    key: str, name: str, tmp_path: Path
) -> None:
    text = refusal(tmp_path, NAMING[key].format(name))
    assert text.startswith((f"{key}:", f"{key} ")) and NO_EXTENSIONS[name] in text


@pytest.mark.parametrize(
    ("key", "name", "told"),
    [
        ("method.name", "Nothing", "is no subclass of syngrpo.method.base.Method"),
        ("method.name", "RaisingMethod", "cannot be made (RuntimeError: no licence,"),
        ("method.name", "MethodWithoutOptions", "no subclass of syngrpo.method.base.MethodOptions"),
        ("data.train.0.task", "Nothing", "is no syngrpo.tasks.base.Task; write a subclass of it"),
        ("data.train.0.task", "Raises", "cannot be made (RuntimeError: no licence found,"),
        ("data.train.0.task", "NeedsMore", "missing 1 required positional argument: 'more'"),
        ("data.train.0.task", "HalfTask", "abstract methods answer_text, ground_truth, prompt"),
        ("data.train.0.task", "SlashTask", "has the name 'rec/mine'; a name has letters"),
        ("data.train.0.task", "OddTask", "has asks_for 'odd'; it is one of object, classes"),
        ("data.train.0.format", "Nothing", "is no syngrpo.formats.base.Format"),
        ("data.rewards.0", "Raises", "cannot be made (RuntimeError: no licence found,"),
        ("data.rewards.0", "Nothing", "is no class or function"),
        ("synthesis.describer", "Nothing", "is no syngrpo.painting.describers.base.Describer"),
        ("synthesis.judges.more.0", "NeedsMore", "does not take these options"),
        ("model.family", "Nothing", "is no subclass of syngrpo.policy.families.base.Family"),
        ("rollout.engine", "Nothing", "is no subclass of syngrpo.rollout.base.Engine"),
    ],
)
def test_an_extension_of_the_wrong_kind_is_refused_with_its_key(
    key: str, name: str, told: str, tmp_path: Path
) -> None:
    text = refusal(tmp_path, NAMING[key].format(f"broken_extensions:{name}"))
    assert text.startswith((f"{key}:", f"{key} ")) and told in text


def test_a_generator_that_needs_more_options_is_refused_with_their_key(tmp_path: Path) -> None:
    text = refusal(tmp_path, "synthesis.generator=broken_extensions:NeedsMore")
    assert text.startswith("synthesis.options: generator 'broken_extensions:NeedsMore' does not")
    assert "(missing a required argument" in text


def test_what_comes_out_of_a_class_or_function_is_checked() -> None:
    for name, told in {
        "Raises": r"cannot be made \(RuntimeError: no licence found, broken_extensions.py line",
        "Nothing": "is no syngrpo.painting.generators.base.Generator",
        "nothing": "is no syngrpo.painting.generators.base.Generator",
        "Nameless": "has no fingerprint",
    }.items():
        with pytest.raises(InputError, match=f"generator 'broken_extensions:{name}' {told}"):
            make_generator(f"broken_extensions:{name}")
    for name, told in {"Raises": "cannot be made", "nothing": "has no method judge"}.items():
        with pytest.raises(InputError, match=f"judge 'broken_extensions:{name}' {told}"):
            make_judge(f"broken_extensions:{name}", {})
    with pytest.raises(InputError, match="family 'broken_extensions:RaisingFamily' cannot be made"):
        find_family("qwen2_5_vl", "broken_extensions:RaisingFamily")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RaisingDescriber", r"failed on sample \S+ \(KeyError: 'colour', broken_extensions.py"),
        ("WordlessDescriber", "gave 5 for sample"),
    ],
)
def test_a_describer_that_fails_is_told_with_the_sample(name: str, told: str) -> None:
    describer = DESCRIBERS.load(f"broken_extensions:{name}")
    with pytest.raises(InputError, match=f"describer {name} {told}"):
        described(describer, rooms_samples("train", 1, size=64)[0], np.random.default_rng(0))


def test_a_broken_extension_of_an_installed_package_is_listed(tmp_path: Path) -> None:
    """The other commands go on without it, also where it would add commands."""
    installed = tmp_path / "broken-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[syngrpo.commands]\nshop = broken_module:app\nnumber = broken_extensions:NUMBER\n"
        "[syngrpo.tasks]\nhalf = broken_extensions:HalfTask\n"
        "[syngrpo.formats]\nscript = script_module:Format\n"
    )
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(SUPPORT)!r}];"
        "sys.argv[1:] = ['extensions']; from syngrpo.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("cannot be loaded: ")]
    assert [line.partition("cannot be loaded: ")[2].partition("' ")[0] for line in told] == [
        "task 'half",
        "format 'script",
        "command group 'shop",
        "command group 'number",
    ]


def test_a_registry_names_all_that_it_knows() -> None:
    registry = Registry[int](
        "number",
        "syngrpo.no_such_group",
        {"five": "broken_extensions:NUMBER", "gone": "broken_extensions:gone"},
        problem=lambda name, found: None,
    )
    assert registry.get("five") == 5
    assert dict(registry.working()) == {"five": 5}
    with pytest.raises(InputError, match="number 'six' is unknown; use one of five, gone, or"):
        registry.get("six")
