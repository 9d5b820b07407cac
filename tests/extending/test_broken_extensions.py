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
        (
            "method.name",
            "MethodWithoutOptions",
            "no subclass of syngrpo.method.method_options.MethodOptions",
        ),
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


def install(folder: Path, package: str, entry_points: str) -> None:
    """Write what pip leaves of an installed package that has these entry points."""
    installed = folder / f"{package}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(entry_points)


def run_with(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that finds the packages installed in the folder."""
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(SUPPORT)!r}]\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


MAIN = "from syngrpo.cli.main import main; main()"
LIST = f"sys.argv[1:] = ['extensions']; {MAIN}"


def test_a_broken_extension_of_an_installed_package_is_listed(tmp_path: Path) -> None:
    """The other commands go on without it, also where it would add commands."""
    install(
        tmp_path,
        "broken",
        "[syngrpo.commands]\nshop = broken_module:app\nnumber = broken_extensions:NUMBER\n"
        "[syngrpo.tasks]\nhalf = broken_extensions:HalfTask\n"
        "[syngrpo.formats]\nscript = script_module:Format\n",
    )
    done = run_with(tmp_path, LIST)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("cannot be loaded: ")]
    assert [line.partition("cannot be loaded: ")[2].partition("' ")[0] for line in told] == [
        "task 'half",
        "format 'script",
        "command group 'shop",
        "command group 'number",
    ]


def test_a_name_that_two_packages_offer_means_neither_of_them(tmp_path: Path) -> None:
    """The configuration may name one of them by its module, and then the name means that one."""
    install(tmp_path, "one", "[syngrpo.tasks]\nodd = pointing_task:Pointing\nrec = one:Rec\n")
    install(tmp_path, "two", "[syngrpo.tasks]\nodd = two:Odd\n[syngrpo.formats]\nodd = two:Odd\n")
    done = run_with(tmp_path, LIST)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["task", "odd", "one", "pointing_task:Pointing"] in rows
    assert ["task", "odd", "two", "two:Odd"] in rows and ["format", "odd", "two", "two:Odd"] in rows
    told = [line for line in done.stdout.splitlines() if "is offered by" in line]
    assert len(told) == 2 and "task 'rec' is offered by syngrpo (syngrpo.tasks.rec:" in told[0]
    for part in (
        "task 'odd'",
        "one (pointing_task:Pointing)",
        "two (two:Odd)",
        "package.module:na",
    ):
        assert part in told[1]
    done = run_with(
        tmp_path,
        "from syngrpo.sample import InputError\n"
        "from syngrpo.tasks import get_task, load_task\n"
        "for name in 'rec', 'odd':\n"
        "    try:\n"
        "        get_task(name)\n"
        "    except InputError as error:\n"
        "        print(error)\n"
        "load_task('syngrpo.tasks.rec:ReferringExpression')\n"
        "print(type(get_task('rec')).__name__)\n",
    )
    assert done.returncode == 0, done.stderr
    refused, *more, known = done.stdout.splitlines()
    assert f"cannot be loaded: {refused}" == told[0] and len(more) == 1
    assert known == "ReferringExpression"


def test_packages_that_offer_the_same_extension_agree(tmp_path: Path) -> None:
    for package in ("one", "two"):
        install(tmp_path, package, "[syngrpo.rewards]\nshort = broken_extensions:nothing\n")
    done = run_with(tmp_path, LIST)
    assert "broken_extensions:nothing" in done.stdout and "cannot be loaded" not in done.stdout


def test_a_package_with_malformed_entry_points_is_told_and_the_others_are_used(
    tmp_path: Path,
) -> None:
    install(tmp_path, "torn", "[syngrpo.tasks]\nhalf\n")
    install(tmp_path, "whole", "[syngrpo.rewards]\nshort = broken_extensions:nothing\n")
    done = run_with(tmp_path, "from syngrpo.tasks.rewards import REWARDS; print(REWARDS.names())")
    assert done.returncode == 0 and "'short'" in done.stdout, done.stderr
    done = run_with(tmp_path, f"sys.argv[1:] = ['--help']; {MAIN}")
    assert done.returncode == 0 and "rooms" in done.stdout
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: the entry_points.txt of package torn is malformed, so its ext")
    (tmp_path / "torn-1.0.dist-info" / "METADATA").unlink()
    done = run_with(tmp_path, f"sys.argv[1:] = ['--help']; {MAIN}")
    assert f"of package in {tmp_path} is malformed" in done.stderr


def test_a_library_that_fails_on_malformed_entry_points_is_told_without_a_traceback(
    tmp_path: Path,
) -> None:
    """torch reads the entry points of all packages when it is imported."""
    install(tmp_path, "torn", "[torch.backends]\nmine\n")
    done = run_with(tmp_path, LIST)
    note, error = done.stderr.splitlines()
    assert done.returncode == 2 and note.startswith("note: ")
    assert error.startswith("error: this command needs a library") and "package torn is" in error


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
