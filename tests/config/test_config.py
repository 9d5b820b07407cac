import dataclasses
from pathlib import Path

import pytest

from syngrpo.config import Config, Source, dump_config, load_config, load_samples
from syngrpo.config.source import named
from syngrpo.data_server.options import SynthesisSettings
from syngrpo.painting.gate import GateThresholds
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.sample import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["demo.yaml", "rooms-rec.yaml", "photos-rec.yaml"])
def test_shipped_configs_load_without_edits_and_survive_being_written(
    name: str, tmp_path: Path
) -> None:
    config = load_config(CONFIGS / name)
    assert config.model.path == "starter" and config.data.prompt_style == "brief"
    assert load_config(write(tmp_path, dump_config(config))) == config
    for source in config.data.train:
        assert all(path.is_file() for path in source.paths)


def test_an_empty_file_is_the_default_config(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == Config()
    assert load_config(write(tmp_path, "model:\ntrainer:\n")) == Config()


def test_defaults_are_those_of_the_parts_they_configure() -> None:
    config = Config()
    policy = SamplingPolicy(**config.pool.model_dump())
    assert dataclasses.replace(policy, max_unmeasured=None) == SamplingPolicy()
    assert GateThresholds(**config.synthesis.gate.model_dump()) == GateThresholds()
    settings = SynthesisSettings(directory=Path("x"), generator="rooms")
    for field in dataclasses.fields(settings):
        if field.name == "judges":
            assert config.synthesis.judges.options() == settings.judges
        elif field.name not in ("directory", "tasks", "describer", "gate"):
            assert getattr(config.synthesis, field.name) == getattr(settings, field.name)


def test_every_key_says_what_it_means() -> None:
    config = Config()
    for name in type(config).model_fields:
        section = getattr(config, name)
        assert type(section).__doc__
        for key, field in type(section).model_fields.items():
            assert field.description or key in ("gate", "judges"), f"{name}.{key}"


def test_overrides_change_any_key(tmp_path: Path) -> None:
    path = write(tmp_path, "trainer: {steps: 5}\ndata:\n  train:\n    - {rooms: test, count: 3}\n")
    config = load_config(
        path,
        [
            "trainer.steps=16",
            "trainer.learning_rate=1e-5",
            "model.lora.rank=8",
            "data.train.0.count=7",
            "evaluation.sets.ood.count=9",
            "logging.trackers=[]",
            "method={name: grpo, beta: 0}",
        ],
    )
    assert config.trainer.steps == 16 and config.trainer.learning_rate == 1e-5
    assert config.model.lora is not None and config.model.lora.rank == 8
    assert config.data.train == [Source(rooms="test", count=7)]
    assert config.evaluation.sets["ood"].count == 9 and "test" in config.evaluation.sets
    assert config.logging.trackers == [] and config.method.beta == 0


ERRORS = {
    "trainer.step=3": "unknown key trainer.step; did you mean trainer.steps?",
    "steps=3": "unknown key steps; did you mean trainer.steps?",
    "data.train.0.coutn=3": "unknown key data.train.0.coutn; did you mean data.train.0.count?",
    "evaluation.sets.test.room=x": "did you mean evaluation.sets.test.rooms?",
    "model.lora={rank: 3, alfa: 3}": "unknown key model.lora.alfa; did you mean model.lora.alpha?",
    "trainer.xyz=1": "unknown key trainer.xyz; the keys here are steps, seed,",
    "xyz=1": "unknown key xyz; the keys here are model, data, method,",
    "trainer.steps=many": "trainer.steps: 'many' is not allowed: should be a valid integer",
    "trainer.steps=0": "trainer.steps: 0 is not allowed: should be greater than or equal to 1",
    "trainer.steps=1.5": "trainer.steps: 1.5 is not allowed",
    "trainer.steps=true": "trainer.steps: True is not allowed: should be a number",
    "trainer.steps=": "trainer.steps: None is not allowed",
    "trainer.learning_rate=.nan": "trainer.learning_rate: nan is not allowed",
    "model.max_pixels=true": "model.max_pixels: True is not allowed",
    "method.name=ppo": "method.name: 'ppo' is not allowed: should be 'syn-grpo',",
    "trainer=3": "trainer: 3 is not allowed: should be a section",
    "data.train=[]": "data.train: [] is not allowed: List should have at least 1 item",
    "data.train=[{}]": "data.train.0: needs either path (files) or rooms",
    "data.train=[{path: x, rooms: test}]": "data.train.0: needs either path",
    "data.train=[{path: x, count: 3}]": "data.train.0: count does not go with path",
    "data.train.0.images=x": "data.train.0: images does not go with rooms",
    "data.train.7.count=3": "--set data.train.7.count=3: '7' is not one of 0 to 0",
    "data.train.x.count=3": "'x' is not one of 0 to 0",
    "model.path.x=3": "model.path: {'x': 3} is not allowed",
    "trainer.steps": "--set trainer.steps: write it as section.key=value",
    "=3": "write it as section.key=value",
    "trainer.steps=[": "not valid YAML",
    "trainer.steps={a: 1, a: 2}": "key 'a' is written twice",
    "synthesis.mode=off": "contradicts method.name 'syn-grpo'; set method.name to grpo",
    "method={name: grpo-clip-higher, clip_high: 0.1}": "method: grpo-clip-higher needs clip_high",
}


@pytest.mark.parametrize("override", ERRORS)
def test_every_error_is_one_line_with_the_key_and_what_is_allowed(
    override: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, "trainer: {steps: 5}\n"), [override])
    text = str(caught.value)
    assert ERRORS[override] in text and "\n" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {steps: 5\n", "not valid YAML"),
        (
            "trainer:\n  steps: 5\n  steps: 6\n",
            "run.yaml:3: not valid YAML: key 'steps' is written",
        ),
        ("- a\n- b\n", "holds list, not sections"),
        ("3: 4\n", "key 3 is not a text"),
        ("a: &a [*a]\n", "run.yaml:1: not valid YAML: an alias"),
        ("\x01", "not valid YAML"),
    ],
)
def test_files_that_are_no_config(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "gone.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_many_errors_are_counted(tmp_path: Path) -> None:
    text = "trainer: {" + ", ".join(f"key{n}: 1" for n in range(8)) + "}"
    with pytest.raises(InputError, match=r"and 3 more$"):
        load_config(write(tmp_path, text))


def test_paths_are_relative_to_the_file_and_in_overrides_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write(
        tmp_path,
        "model: {path: model}\n"
        "data: {train: [{path: a.jsonl, images: pictures}]}\n"
        "evaluation: {sets: {val: {path: /abs/b.jsonl}}}\n",
    )
    config = load_config(path)
    assert config.model.path == str(tmp_path / "model")
    assert config.data.prompt_style == "full"
    assert config.data.train[0].path == tmp_path / "a.jsonl"
    assert config.data.train[0].images == tmp_path / "pictures"
    assert config.evaluation.sets["val"].path == Path("/abs/b.jsonl")
    config = load_config(path, ["data.train.0.path=c.jsonl", "model.path=Qwen/Qwen2.5-VL-3B"])
    assert config.data.train[0].path == tmp_path / "here" / "c.jsonl"
    assert config.model.path == "Qwen/Qwen2.5-VL-3B"
    assert load_config(path, ["model.path=starter"]).data.prompt_style == "brief"


def test_one_line_switches_the_method(tmp_path: Path) -> None:
    path = CONFIGS / "rooms-rec.yaml"
    methods = {
        name: load_config(path, [f"method.name={name}"])
        for name in (
            "syn-grpo",
            "syn-grpo-no-smoothing",
            "random-scene",
            "grpo",
            "grpo-clip-higher",
        )
    }
    table = {
        name: (
            config.synthesis.mode,
            config.method.rewards_diversity,
            config.method.smoothing,
            config.method.random_descriptions,
            config.method.clip_high > config.method.clip_low,
        )
        for name, config in methods.items()
    }
    assert table == {
        "syn-grpo": ("async", True, True, False, False),
        "syn-grpo-no-smoothing": ("async", True, False, False, False),
        "random-scene": ("async", False, True, True, False),
        "grpo": ("off", False, True, False, False),
        "grpo-clip-higher": ("off", False, True, False, True),
    }
    for config in methods.values():
        assert load_config(write(tmp_path, dump_config(config))) == config


def test_synthetic_samples_wait_for_four_steps_unless_it_says_more(tmp_path: Path) -> None:
    assert Config().pool.max_unmeasured == 4 * 8 * 0.5
    path = tmp_path / "config.yaml"
    path.write_text("trainer: {groups_per_step: 3}\npool: {synthetic_ratio: 0.25}\n")
    assert load_config(path).pool.max_unmeasured == 3
    assert load_config(path, ["pool.max_unmeasured=256"]).pool.max_unmeasured == 256
    assert load_config(path, ["pool.synthetic_ratio=0"]).pool.max_unmeasured == 1


def test_off_may_be_written_without_quotes(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "method: {name: grpo}\nsynthesis: {mode: off}\n"))
    assert config.synthesis.mode == "off"


def test_sources_become_samples(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "photos-rec.yaml")
    photos = load_samples(config.data.train[0], config.data)
    assert len(photos) >= 6 and {sample.task for sample in photos} == {"rec"}
    rooms = load_samples(Source(rooms="test", count=3, seed=1, size=64))
    assert len(rooms) == 3 and rooms[0].image.width == 64
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        load_samples(Source(path=bad))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("server.url=there:8420", "write it as http://host:port"),
        ("logging.trackers=[wandb]", "pip install wandb"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_run(
    override: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syngrpo.config.sections.find_spec", lambda name: None)
    with pytest.raises(InputError, match=told) as error:
        load_config(write(tmp_path, "logging: {trackers: []}"), [override])
    assert "\n" not in str(error.value) and override.partition("=")[0] in str(error.value)


def test_several_files_are_a_list_or_joined_by_colons(tmp_path: Path) -> None:
    joined = load_config(
        write(tmp_path, "data: {train: [{path: 'a.jsonl:/b.jsonl', images: 'x:y'}]}")
    )
    listed = load_config(
        write(tmp_path, "data: {train: [{path: [a.jsonl, /b.jsonl], images: [x, y]}]}")
    )
    assert joined == listed
    (source,) = joined.data.train
    assert source.paths == (tmp_path / "a.jsonl", Path("/b.jsonl"))
    assert source.image_folders == (tmp_path / "x", tmp_path / "y")
    assert load_config(write(tmp_path, dump_config(joined))) == joined
    (tmp_path / "a:b.jsonl").touch()
    one = load_config(write(tmp_path, "data: {train: [{path: 'a:b.jsonl'}]}"))
    assert one.data.train[0].paths == (tmp_path / "a:b.jsonl",)


def test_a_hub_id_stays_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "data: {train: [{path: owner/name, format: hf, images: pictures}]}")
    assert load_config(path).data.train[0].path == Path("owner/name")
    assert load_config(path).data.train[0].images == tmp_path / "pictures"
    other = load_config(path, ["data.train.0.path=me/mine"])
    assert other.data.train[0].path == Path("me/mine")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert load_config(path).data.train[0].path == tmp_path / "owner" / "name"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{path: x, task: depth}", "data.train.0.task: 'depth' is not allowed: should be one of"),
        ("{path: x, format: xml}", "data.train.0.format: 'xml' is not allowed"),
        ("{path: x, format: jsonl, negatives: 3}", "negatives does not go with format jsonl"),
        ("{path: x, format: coco, columns: {a: b}}", "columns does not go with format coco"),
        ("{rooms: test, negatives: 3}", "negatives does not go with rooms"),
        ("{rooms: test, weight: 0}", "data.train.0.weight: 0 is not allowed"),
        ("{path: []}", "is an empty list"),
        ("{path: x, limit: 0}", "data.train.0.limit: 0 is not allowed"),
    ],
)
def test_keys_of_a_source_go_with_its_format(source: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, f"data: {{train: [{source}]}}"))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_sources_have_names_of_their_own() -> None:
    sources = [
        Source(rooms="train", seed=1),
        Source(rooms="train", seed=2),
        Source(rooms="train", task="ovd"),
        Source(path=Path("a/rec.jsonl")),
        Source(path=[Path("b/rec.jsonl"), Path("c.jsonl")]),
        Source(path=Path("refcoco"), split="val"),
        Source(path=Path("x.jsonl"), name="rec-2"),
    ]
    names = named(sources)
    assert list(names.values()) == sources
    assert list(names) == [
        *("rooms-rec-train", "rooms-rec-train-2", "rooms-ovd-train"),
        *("rec", "rec-3", "refcoco-val", "rec-2"),
    ]
    with pytest.raises(ValueError, match="two sources are named 'a'"):
        named([Source(rooms="test", name="a"), Source(rooms="train", name="a")])


def test_rooms_are_sources_of_every_task() -> None:
    for task in ("rec", "ovd", "isr"):
        samples = load_samples(Source(rooms="test", count=2, size=64, task=task, name="mine"))
        assert {(sample.task, sample.dataset) for sample in samples} == {(task, "mine")}
