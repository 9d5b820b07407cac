import re
from dataclasses import fields, is_dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from jsonschema import Draft202012Validator
from PIL import Image

from syngrpo.config import dump_config, load_config, options_from
from syngrpo.config.explain import defaults, explain, schema
from syngrpo.config.other_trainers import KEYS, PAGE
from syngrpo.config.reading import FILE_KEYS
from syngrpo.config.validation import dotted_keys, section_at, type_at
from syngrpo.formats.source_reading import read_sources
from syngrpo.method import METHODS
from syngrpo.method.losses import LossName
from syngrpo.options import alternatives
from syngrpo.painting.gate import GateThresholds
from syngrpo.pool.sampling import SamplingPolicy
from syngrpo.sample import InputError
from syngrpo.workflow.run_options import RunOptions

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONFIGS = Path(__file__).parents[2] / "configs"
LEAST = """\
model: {path: starter}
data: {train: [{format: rooms, split: train, count: 200}]}
synthesis: {generator: rooms}
"""
"""The keys without a default."""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def least(folder: Path) -> Path:
    return write(folder, LEAST)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_shipped_configs_load_without_edits_and_survive_being_written(
    name: str, tmp_path: Path
) -> None:
    options = load_config(CONFIGS / name)
    for_starter = options.model.path == "starter"
    assert for_starter == (name != "photos-3b.yaml")
    assert options.data.prompt_style == ("brief" if for_starter else "full")
    assert load_config(write(tmp_path, dump_config(options))) == options
    for source in options.data.train:
        assert all(path.is_file() for path in source.path)


def test_names_of_columns_are_no_paths(tmp_path: Path) -> None:
    table = "{path: t.parquet, format: hf, columns: {image: img, path: origin}}"
    text = LEAST.replace("{format: rooms, split: train, count: 200}", table)
    (source,) = load_config(write(tmp_path, text)).data.train
    assert source.options["columns"] == {"image": "img", "path": "origin"}


def test_what_has_no_default_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model is missing \(the model that is trained\); data"):
        load_config(write(tmp_path, ""))
    text = LEAST.replace("path: starter", "dtype: float32")
    with pytest.raises(InputError, match=r"model\.path is missing \(directory or hub name"):
        load_config(write(tmp_path, text))
    with pytest.raises(InputError, match=r"synthesis\.generator is not set.*use one of .*rooms"):
        load_config(write(tmp_path, LEAST.replace("{generator: rooms}", "{}")))
    grpo = LEAST.replace("synthesis: {generator: rooms}", "method: {name: grpo}")
    assert load_config(write(tmp_path, grpo)).synthesis.mode == "off"


def test_defaults_are_those_of_the_parts_they_configure(tmp_path: Path) -> None:
    options = load_config(least(tmp_path))
    assert replace(options.pool, max_unmeasured=None) == SamplingPolicy()
    assert options.synthesis.gate == GateThresholds()


def test_every_key_says_what_it_means() -> None:
    for key in dotted_keys():
        *parents, name = key.split(".")
        section = section_at(parents)
        assert section is not None and section.__doc__, key
        (field,) = [field for field in fields(section) if field.name == name]
        assert field.metadata.get("description"), key


def test_an_option_is_declared_by_one_dataclass_alone() -> None:
    """A section uses the dataclass of its part; a second declaration of the same key is none."""
    seen: set[str] = set()

    def visit(section: Any) -> None:
        if section.__qualname__ in seen:
            return
        seen.add(section.__qualname__)
        for kind in get_type_hints(section).values():
            for one in alternatives(kind):
                if is_dataclass(one):
                    visit(one)

    visit(RunOptions)
    assert {"SamplingPolicy", "GateThresholds", "MethodOptions", "ModelOptions"} <= seen


def test_overrides_change_any_key(tmp_path: Path) -> None:
    text = LEAST + "trainer: {steps: 5}\n"
    text += "evaluation: {sets: {ood: {format: rooms, split: ood}, test: {path: a.jsonl}}}\n"
    options = load_config(
        write(tmp_path, text),
        [
            "trainer.steps=16",
            "trainer.learning_rate=1e-5",
            "model.lora.rank=8",
            "data.train.0.count=7",
            "evaluation.sets.ood.count=9",
            "logging.trackers=[]",
            "method={name: syn-grpo, beta: 0}",
        ],
    )
    assert options.trainer.steps == 16 and options.trainer.learning_rate == 1e-5
    assert options.model.lora is not None and options.model.lora.rank == 8
    assert dict(options.data.train[0].options) == {"split": "train", "count": 7}
    assert options.evaluation.sets["ood"].options["count"] == 9
    assert "test" in options.evaluation.sets
    assert options.logging.trackers == () and options.method.beta == 0


ERRORS = {
    "trainer.step=3": "unknown key trainer.step; did you mean trainer.steps?",
    "steps=3": "unknown key steps; did you mean trainer.steps?",
    "data.train.0.coutn=3": "data.train.0.coutn: format rooms has no such key; its keys are",
    "model.lora={rank: 3, alfa: 3}": "unknown key model.lora.alfa; did you mean model.lora.alpha?",
    "trainer.xyz=1": "unknown key trainer.xyz; the keys here are steps, seed,",
    "xyz=1": "unknown key xyz; the keys here are model, data, method,",
    "trainer.steps=many": "trainer.steps: 'many' is not allowed: should be a whole number",
    "trainer.steps=0": "trainer.steps: 0 is not allowed: should be greater than or equal to 1",
    "trainer.steps=1.5": "trainer.steps: 1.5 is not allowed",
    "trainer.steps=true": "trainer.steps: True is not allowed: should be a number",
    "trainer.steps=": "trainer.steps: None is not allowed",
    "trainer.learning_rate=.nan": "trainer.learning_rate: nan is not allowed",
    "trainer.learning_rate=1e25": "should be less than or equal to 1",
    "rollout.temperature=1e-300": "should be greater than or equal to 0.01",
    "model.max_pixels=true": "model.max_pixels: True is not allowed",
    "data.train.0.weight=true": "data.train.0.weight: True is not allowed: should be a number",
    "data.train.0.count=true": "data.train.0.count: True is not allowed: should be a number",
    "data.train.0.weight=.inf": "data.train.0.weight: inf is not allowed",
    "data.rewards=[{use: vlm-r1-iou, weight: true}]": "data.rewards.0.weight: True is not allowed",
    "data.rewards=[{use: vlm-r1-iou, wait: 1}]": "did you mean data.rewards.0.weight?",
    "data.rewards=[{}]": "data.rewards.0.use is missing (name of a built-in",
    "data.rewards=5": "data.rewards: 5 is not allowed: should be a list",
    "synthesis.options={grain: 1}": "synthesis.options: generator 'rooms' does not take these",
    "synthesis.frame.scale=[a, 1]": "scale.0: 'a' is not allowed: should be a number",
    "synthesis.frame.scale=[0.2, 0.4, 1]": "not allowed: should have at most 2 items",
    "synthesis.frame.scale=[0.0001, 1]": "leaves no place for the kept objects; give two",
    "trainer.steps=!!timestamp 99": "not valid YAML",
    "method.name=ppo": "method.name: method 'ppo' is unknown; use one of syn-grpo,",
    "method.name=GRPO": "method.name: method 'GRPO' is unknown; use one of syn-grpo,",
    "method.name=GSPO": "method.name: 'GSPO' is a loss, not a method; set method.loss to gspo, and",
    "method.name=rloo": "a way to compute advantages, not a method; set method.advantage to rloo",
    "method.loss=reinforce++": "not a loss; set method.advantage to batch, and method.loss to grpo",
    "method.num_iterations=4": "did you mean trainer.updates_per_rollout? (docs/losses.md",
    "rollout.n=4": "unknown key rollout.n; did you mean rollout.group_size?",
    "method={name: grpo-clip-higher, loss: cispo, clip_high: 1}": "cispo has none; set clip_low",
    "rollout.server=http://here:99999": "http://here:99999 is not the URL of a server; write it as",
    "rollout.weights_folder=/w": "rollout.weights_folder has no effect with rollout.engine native; "
    "set rollout.engine to openai, or remove",
    "rollout={server: 'http://here:1', server_model: m}": "no effect with rollout.engine server",
    "rollout.server_token_file=/t": "set rollout.engine to server or openai, or remove",
    "method.rho=3": "unknown key method.rho; the keys here are name, loss",
    "data.train=[mine.jsonl]": "data.train.0: 'mine.jsonl' is not allowed: should be a section; "
    "write {path: mine.jsonl}",
    "model.lora=true": "model.lora: True is not allowed: should be a section of keys and values, "
    "or {} for its defaults",
    "synthesis={generator: rooms, devices: ['1', '2']}": "synthesis: workers 1 leaves some of the "
    "2 devices without a worker; set workers to 2 or more, or name fewer devices",
    "trainer=3": "trainer: 3 is not allowed: should be a section",
    "data.train=[]": "data.train: [] is not allowed",
    "data.train=[{}]": "data.train.0: needs a path (files), or a format",
    "data.train=[{path: x, format: rooms}]": "data.train.0.path: format rooms generates its",
    "data.train=[{path: x, count: 3}]": "data.train.0.count: unknown key; the keys of a source",
    "data.train=[{rooms: test}]": "data.train.0.rooms has another name now: data.train.0.format is",
    "data.train.0.images=x": "data.train.0.images: format rooms generates its",
    "data.train.7.count=3": "--set data.train.7.count=3: '7' is not one of 0 to 0",
    "data.train.x.count=3": "'x' is not one of 0 to 0",
    "model.path.x=3": "--set model.path.x=3: 'x' is inside a value",
    "trainer.steps": "--set trainer.steps: write it as section.key=value",
    "=3": "write it as section.key=value",
    "trainer.steps=[": "not valid YAML",
    "trainer.steps={a: 1, a: 2}": "key 'a' is written twice",
    "model={path: starter, lora: }": "lora has no value; write lora: {} for adapters",
    "synthesis.mode=off": "contradicts method.name 'syn-grpo'; set method.name to grpo",
    "method={name: grpo-clip-higher, clip_high: 0.1}": "method: grpo-clip-higher needs clip_high",
    "method.loss=ppo": "method.loss: 'ppo' is not allowed: should be 'grpo', 'dr_grpo', 'dapo', ",
    "method={loss: sapo, clip_high: 0.3}": "method: clip_high 0.3 has no effect with loss sapo",
    "method={name: grpo-clip-higher, loss: gspo}": "method: clip_high 0.28 of grpo-clip-higher is "
    "for losses that clip the ratio of each token at 0.2 (grpo, dr_grpo, dapo, bnpo, clip_cov), "
    "not for gspo; set name to grpo, or loss to one of these",
    "method={name: grpo-clip-higher, loss: sapo}": "not for sapo; set name to grpo",
    "method={name: grpo-clip-higher, loss: sapo, clip_high: 0.3}": "method: clip_high 0.3 has no",
    "method={loss: cispo, dual_clip: 3}": "method: dual_clip 3 has no effect with loss cispo",
    "method.sapo_tau_positive=2": "sapo_tau_positive 2 has no effect with loss grpo; remove",
    "method={loss: kl_cov, sapo_tau_negative: 2}": "sapo_tau_negative 2 has no effect with loss",
    "method={loss: sapo, covariance_share: 0.1}": "covariance_share 0.1 has no effect with loss",
    "method={loss: kl_cov, covariance_high: 6}": "covariance_high 6 has no effect with loss kl_cov",
    "method={loss: clip_cov, covariance_penalty: 2}": "covariance_penalty 2 has no effect",
    "method.entropy_step=0.01": "entropy_step 0.01 has no effect without entropy_target; set",
    "method={entropy_weight: 1, entropy_limit: 2}": "entropy_limit 2 has no effect without",
    "method={dual_clip: 1.1}": "method: dual_clip is 1.1, not above 1 + clip_high = 1.2",
    "method={loss: gspo}": "method: loss gspo gives all tokens of a response the same gradient",
    "method={name: grpo, loss: gspo, describing: all}": "set loss to gspo_token",
    "method={loss: clip_cov, covariance_low: 7}": "covariance_low 7 is not below covariance_high 5",
    "method={entropy_target: 1, entropy_weight: 2}": "entropy_weight 2 is above entropy_limit 1",
    "method={loss: dr_grpo, advantage_floor: 0.2}": "advantage_floor 0.2 has no effect with "
    "advantage centred; set advantage to group, or remove",
    "method={beta: 0, scene_beta: 0, kl_estimator: k2}": "kl_estimator k2 has no effect with",
    "method.kl_estimator=k4": "method.kl_estimator: 'k4' is not allowed",
    "method.phantom_weight=2": "method.phantom_weight: 2 is not allowed",
    "trainer.micro_tokens=4": "trainer.micro_tokens has another name now: trainer.token_budget",
    "rollout.importance_cap=2": "rollout.importance_cap has another name now: rollout.tis_cap",
    "synthesis.generator=room": "synthesis.generator: generator 'room' is unknown; use one of noop",
    "synthesis={generator: diffusers, options: {stepz: 0}}": "synthesis.options: generator 'diff",
    "synthesis.judges.more=[{use: who}]": "synthesis.judges.more.0: judge 'who' is unknown",
    "synthesis.round_trip=0.5": "set synthesis.gate.max_kept_difference, to 255 for any difference",
    "method.relative_to_parent=true": "has another name now: method.credit: parent",
    "method={credit: siblings, descriptions_per_group: 1}": "set method.descriptions_per_group to",
    "method={credit: siblings, descriptions_per_group: 5}": "4 places for synthetic samples "
    "(trainer.groups_per_step 8 x pool.synthetic_ratio 0.5); make method.descriptions_per_group",
}


@pytest.mark.parametrize("override", ["synthesis.judges.device=cuda", "synthesis.job_timeout_s=9"])
def test_what_workers_of_a_server_do_not_get_is_refused(override: str, tmp_path: Path) -> None:
    file = write(tmp_path, LEAST + "trainer: {steps: 5}\n")
    load_config(file, [override])
    load_config(file, ["server.url=http://gpu:8420"])
    key = override.split("=")[0].removesuffix(".device")
    with pytest.raises(InputError, match=f"{key} has no effect on the workers of server.url"):
        load_config(file, [override, "server.url=http://gpu:8420"])


@pytest.mark.parametrize("override", ERRORS)
def test_every_error_is_one_line_with_the_key_and_what_is_allowed(
    override: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, LEAST + "trainer: {steps: 5}\n"), [override])
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


def test_names_of_other_trainers_are_those_of_the_documentation() -> None:
    page = (CONFIGS.parent / PAGE).read_text(encoding="utf-8")
    assert set(KEYS.values()) <= set(dotted_keys())
    missing = [name for name in KEYS if not re.search(rf"[`.]{name}[`=]", page)]
    assert missing == []


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "gone.yaml")
    with pytest.raises(InputError, match="is a folder, no configuration"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_many_errors_are_counted(tmp_path: Path) -> None:
    text = "trainer: {" + ", ".join(f"key{n}: 1" for n in range(8)) + "}"
    with pytest.raises(InputError, match=r"and 3 more$"):
        load_config(write(tmp_path, LEAST + text))


def test_paths_are_relative_to_the_file_and_in_overrides_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write(
        tmp_path,
        "model: {path: model}\n"
        "method: {name: grpo}\n"
        "data: {train: [{path: a.jsonl, images: pictures}]}\n"
        "evaluation: {sets: {val: {path: /abs/b.jsonl}}}\n",
    )
    options = load_config(path)
    assert options.model.path == str(tmp_path / "model")
    assert options.data.prompt_style == "full"
    assert options.data.train[0].path == (tmp_path / "a.jsonl",)
    assert options.data.train[0].images == (tmp_path / "pictures",)
    assert options.evaluation.sets["val"].path == (Path("/abs/b.jsonl"),)
    options = load_config(path, ["data.train.0.path=c.jsonl", "model.path=Qwen/Qwen2.5-VL-3B"])
    assert options.data.train[0].path == (tmp_path / "here" / "c.jsonl",)
    assert options.model.path == "Qwen/Qwen2.5-VL-3B"
    assert load_config(path, ["model.path=starter"]).data.prompt_style == "brief"


def test_files_that_are_no_data_are_relative_to_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write(
        tmp_path,
        "model: {path: starter}\n"
        "method: {name: grpo}\n"
        "data: {train: [{path: a.jsonl}]}\n"
        "server: {token_file: ~/token}\n"
        "rollout: {engine: openai, server: 'http://host:1', weights_folder: shared/weights}\n",
    )
    options = load_config(path, ["rollout.server_token_file=token"])
    assert options.server.token_file == tmp_path / "home" / "token"
    assert options.rollout.weights_folder == tmp_path / "shared" / "weights"
    assert options.rollout.server_token_file == tmp_path / "here" / "token"
    hints = [(key.split("."), key.rpartition(".")[2]) for key in dotted_keys()]
    assert {name for place, name in hints if Path in alternatives(type_at(place))} == set(FILE_KEYS)


def test_one_line_switches_the_method(tmp_path: Path) -> None:
    methods = {
        name: load_config(CONFIGS / "rooms-rec.yaml", [f"method.name={name}"])
        for name in METHODS.names()
    }
    table = {
        name: (options.synthesis.mode, options.method.clip_high > options.method.clip_low)
        for name, options in methods.items()
    }
    assert table == {
        "syn-grpo": ("async", False),
        "syn-grpo-no-smoothing": ("async", False),
        "random-scene": ("async", False),
        "grpo": ("off", False),
        "grpo-clip-higher": ("off", True),
        "noisy-rollout": ("off", False),
        "executable-transforms": ("off", False),
    }
    for options in methods.values():
        assert load_config(write(tmp_path, dump_config(options))) == options


@pytest.mark.parametrize("loss", get_args(LossName))
def test_a_written_configuration_sets_nothing_without_an_effect(loss: str, tmp_path: Path) -> None:
    """It names every key, also those that this loss does not read, with their defaults."""
    options = load_config(CONFIGS / "rooms-rec.yaml", [f"method={{name: grpo, loss: {loss}}}"])
    assert load_config(write(tmp_path, dump_config(options))) == options


def test_options_of_the_loss_that_is_used_are_taken(tmp_path: Path) -> None:
    path = least(tmp_path)
    for method in (
        "{loss: sapo, sapo_tau_positive: 2, sapo_tau_negative: 3}",
        "{loss: clip_cov, covariance_share: 0.1, covariance_low: 2, covariance_high: 6}",
        "{loss: kl_cov, covariance_share: 0.1, covariance_penalty: 2}",
        "{entropy_target: 1, entropy_step: 0.01, entropy_limit: 2}",
        "{name: grpo-clip-higher, loss: gspo, clip_high: 0.0005}",
        "{name: grpo-clip-higher, loss: gmpo, clip_high: 0.6}",
        "{name: grpo-clip-higher, loss: dapo}",
    ):
        load_config(path, [f"method={method}"])


@pytest.mark.parametrize("engine", ["server", "openai"])
def test_prompts_of_a_server_cannot_be_kept(engine: str, tmp_path: Path) -> None:
    settings = [f"rollout.engine={engine}", "rollout.server=http://127.0.0.1:1"]
    settings += [f"rollout.weights_folder={tmp_path}"] if engine == "openai" else []
    settings += ["trainer.keep_prompts=true"]
    with pytest.raises(InputError, match=f"keep_prompts true .*engine {engine} has none; remove"):
        load_config(least(tmp_path), settings)
    for other in ("false", "null"):
        load_config(least(tmp_path), [*settings[:-1], f"trainer.keep_prompts={other}"])


def test_synthetic_samples_wait_for_four_steps_unless_it_says_more(tmp_path: Path) -> None:
    assert load_config(least(tmp_path)).pool.max_unmeasured == 4 * 8 * 0.5
    text = LEAST + "trainer: {groups_per_step: 3}\npool: {synthetic_ratio: 0.25}\n"
    path = write(tmp_path, text)
    assert load_config(path).pool.max_unmeasured == 3
    assert load_config(path, ["pool.max_unmeasured=256"]).pool.max_unmeasured == 256
    assert load_config(path, ["pool.synthetic_ratio=0"]).pool.max_unmeasured == 1


def test_off_may_be_written_without_quotes(tmp_path: Path) -> None:
    text = LEAST.replace("{generator: rooms}", "{mode: off}") + "method: {name: grpo}\n"
    assert load_config(write(tmp_path, text)).synthesis.mode == "off"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("server.url=there:8420", "write it as http://host:port"),
        ("logging.trackers=[wandb]", "pip install wandb"),
        ("logging.responses.keep=some", "should be all, none, or a number of samples"),
        ("logging.responses.keep=0-per-step", "logging.responses.*should be all, none, or"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_run(
    override: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syngrpo.workflow.run_options.find_spec", lambda name: None)
    with pytest.raises(InputError, match=told) as error:
        load_config(write(tmp_path, LEAST + "logging: {trackers: []}"), [override])
    assert "\n" not in str(error.value) and override.partition(".")[0] in str(error.value)


def with_source(folder: Path, source: str) -> RunOptions:
    text = f"model: {{path: starter}}\nmethod: {{name: grpo}}\ndata: {{train: [{source}]}}\n"
    return load_config(write(folder, text))


def test_several_files_are_a_list_or_joined_by_colons(tmp_path: Path) -> None:
    joined = with_source(tmp_path, "{path: 'a.jsonl:/b.jsonl', images: 'x:y'}")
    listed = with_source(tmp_path, "{path: [a.jsonl, /b.jsonl], images: [x, y]}")
    assert joined == listed
    (source,) = joined.data.train
    assert source.path == (tmp_path / "a.jsonl", Path("/b.jsonl"))
    assert source.images == (tmp_path / "x", tmp_path / "y")
    assert load_config(write(tmp_path, dump_config(joined))) == joined
    (tmp_path / "a:b.jsonl").touch()
    one = with_source(tmp_path, "{path: 'a:b.jsonl'}")
    assert one.data.train[0].path == (tmp_path / "a:b.jsonl",)


def test_a_hub_id_stays_a_hub_id(tmp_path: Path) -> None:
    named = "{path: owner/name, format: hf, images: pictures}"
    source = with_source(tmp_path, named).data.train[0]
    assert source.path == (Path("owner/name"),) and source.images == (tmp_path / "pictures",)
    other = load_config(tmp_path / "run.yaml", ["data.train.0.path=me/mine"])
    other_path = (Path("me/mine"),)
    assert other.data.train[0].path == other_path
    (tmp_path / "run.yaml").write_text(
        "{model: {path: starter}, method: {name: grpo}, data: {train: [{}]}}"
    )
    for overrides in permutations(["data.train.0.path=me/mine", "data.train.0.format=hf"]):
        assert load_config(tmp_path / "run.yaml", overrides).data.train[0].path == other_path
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert with_source(tmp_path, named).data.train[0].path == (tmp_path / "owner" / "name",)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{path: x, task: depth}", "data.train.0.task 'depth' is unknown; use one of rec"),
        ("{path: x, format: xml}", "data.train.0.format 'xml' is unknown; use one of jsonl"),
        ("{path: x, format: jsonl, negatives: 3}", "negatives: format jsonl has no such key"),
        ("{path: x, format: coco, columns: {a: b}}", "columns: format coco has no such key"),
        ("{path: x, weight: 0}", "data.train.0.weight: 0 is not allowed"),
        ("{path: []}", "is an empty list"),
        ("{path: x, limit: 0}", "data.train.0.limit: 0 is not allowed"),
    ],
)
def test_keys_of_a_source_go_with_its_format(source: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        with_source(tmp_path, source)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_explain_says_what_a_key_means() -> None:
    (steps,) = explain("trainer.steps")
    assert steps.default == "300" and "at least 1" in steps.kind and steps.description
    assert {key.name for key in explain("model.lora")} == {"model.lora.rank", "model.lora.alpha"}
    below = {key.name for key in explain("data.train")}
    assert {"data.train", "data.train.N.path", "data.train.N.negatives"} <= below
    steps = [key for key in explain("synthesis.options") if key.name.endswith(".steps")]
    assert [key.kind for key in steps] == [
        "whole number or null, at least 1 (diffusers, flux2-klein, z-image-turbo, "
        "qwen-image-inpaint, sdxl-inpaint)"
    ]
    assert explain("synthesis.options.steps") == steps
    assert [found.name for found in explain("data.train.path")] == ["data.train.N.path"]
    assert explain("data.rewards.use") == explain("data.rewards.N.use")
    with pytest.raises(InputError, match=r"there is no key trainer\.N\.steps"):
        explain("trainer.N.steps")
    with pytest.raises(InputError, match=r"no key nix\.da; the sections are model, data"):
        explain("nix.da")
    with pytest.raises(InputError, match=r"did you mean trainer\.steps"):
        explain("trainer.step")
    with pytest.raises(InputError, match=r"no key loss; did you mean method\.loss\?"):
        explain("loss")
    with pytest.raises(InputError, match=r"no key gmpo; method\.loss, .* name it"):
        explain("gmpo")
    with pytest.raises(InputError, match=r"no key rloo; method\.advantage names it"):
        explain("rloo")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("data.rewards.0.use", "text"),
        (
            "data.train.0.split",
            "train | test | ood | dev | broad | hard | ood-hard | dev-hard (rooms)",
        ),
        ("evaluation.sets.ood.path", "list of path"),
        ("evaluation.sets.N.count", "whole number, at least 1 (rooms)"),
        ("synthesis.judges.more.1.options", "mapping"),
        ("synthesis.options.url", "text (http)"),
    ],
)
def test_explain_finds_keys_inside_lists_and_of_extensions(key: str, kind: str) -> None:
    found = explain(key)
    assert {one.name for one in found} == {key} and kind in {one.kind for one in found}
    assert {one.name for one in explain(key.rpartition(".")[0])} > {key}


@pytest.mark.parametrize(
    "key", ["", ".", "pool.", "1", "data.rewards.uses", "data.train.rooms", "model.path.x"]
)
def test_explain_refuses_what_is_no_key(key: str) -> None:
    with pytest.raises(InputError, match="there is no key"):
        explain(key)


def test_all_keys_are_listed() -> None:
    assert {"model.path", "pool.max_depth", "synthesis.gate.min_change"} <= {
        key.name for key in defaults()
    }


def test_the_schema_accepts_what_the_reader_accepts_and_knows_every_key() -> None:
    validator = Draft202012Validator(schema())
    for path in CONFIGS.glob("*.yaml"):
        validator.validate(yaml.safe_load(path.read_text()))
    wrong = yaml.safe_load(LEAST) | {"trainer": {"stepz": 3}}
    assert [list(error.path) for error in validator.iter_errors(wrong)] == [["trainer"]]


def test_descriptions_that_are_painted_keep_a_kl_unless_it_is_switched_off() -> None:
    def scene_beta(**method: object) -> float | None:
        values = {
            "model": {"path": "starter"},
            "data": {"train": [{"format": "rooms", "split": "train"}]},
        }
        painted = {"synthesis": {"generator": "rooms", "describer": "rooms"}}
        return options_from({**values, **painted, "method": method}).method.scene_beta

    assert scene_beta() == scene_beta(beta=0) == 0.04
    assert scene_beta(beta=0.1) == 0.1
    assert scene_beta(beta=0, scene_beta=0) == 0
    assert scene_beta(name="grpo", beta=0) == scene_beta(name="random-scene", beta=0) == 0
    assert scene_beta(name="grpo") == 0.04


def test_a_method_with_random_descriptions_needs_a_describer() -> None:
    values = {
        "model": {"path": "starter"},
        "data": {"train": [{"format": "rooms", "split": "train"}]},
        "synthesis": {"generator": "rooms"},
        "method": {"name": "random-scene"},
    }
    with pytest.raises(InputError, match="describer is not set, and method random-scene draws"):
        options_from(values)
    values["synthesis"]["describer"] = "rooms"
    assert options_from(values).method.name == "random-scene"


def test_a_bundle_of_siblings_must_fit_into_every_limit(tmp_path: Path) -> None:
    bundles = ["method.credit=siblings", "method.descriptions_per_group=4"]
    path = write(tmp_path, LEAST)
    assert load_config(path, bundles).method.credit == "siblings"
    assert load_config(path, [*bundles, "method.name=grpo", "trainer.groups_per_step=1"])
    for key in ("pool.max_children", "synthesis.queue_limit"):
        with pytest.raises(InputError, match=f"{key} is 3, and method.credit siblings"):
            load_config(path, [*bundles, f"{key}=3"])


def test_explain_teaches_what_the_values_of_an_option_of_a_method_mean() -> None:
    (key,) = explain("method.diversity_of")
    assert key.kind == "accuracy | hits | signal | above_chance" and key.default == "accuracy"
    assert all(f"{name}: " in key.description for name in key.kind.split(" | "))


def yolo(folder: Path) -> Path:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    Image.new("RGB", (64, 48)).save(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = folder / "data.yaml"
    path.write_text("path: .\ntrain: images\nval: images\nnc: 2\nnames: [cup, pot]\n")
    return path


def test_a_data_set_is_no_configuration_and_the_line_holds_one(tmp_path: Path) -> None:
    data = yolo(tmp_path)
    rows = FIXTURES / "jsonl" / "data.jsonl"
    for path, name in ((data, "yolo"), (tmp_path, "yolo"), (rows, "jsonl")):
        with pytest.raises(InputError) as caught:
            load_config(path)
        line = str(caught.value)
        assert line.startswith(f"{path} is a data set (format {name}), no configuration of a run; ")
        if path.is_dir():
            continue
        run = tmp_path / "run.yaml"
        run.write_text(line[line.index("{") : line.rindex("}") + 1])
        options = load_config(run)
        assert read_sources(options.data, {})[0][0]
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine is a folder, no configuration of a run; name a"):
        load_config(tmp_path / "mine")
    (tmp_path / "mine" / "rows.jsonl").write_text(rows.read_text())
    with pytest.raises(InputError, match=r"mine is a data set \(format jsonl\), no configuration"):
        load_config(tmp_path / "mine")
    unfinished = tmp_path / "run.yaml"
    unfinished.write_text("data: {train: []}\n")
    with pytest.raises(InputError, match=r"run\.yaml: "):
        load_config(unfinished)


@pytest.mark.parametrize("name", sorted(METHODS.names()))
@pytest.mark.parametrize("changed", ["beta: 0", "beta: 0.1", "scene_beta: 0, beta: 0"])
def test_what_is_accepted_is_accepted_again_with_its_defaults(
    name: str, changed: str, tmp_path: Path
) -> None:
    text = LEAST.replace("{generator: rooms}", "{generator: rooms, describer: rooms}")
    for estimator in ("k2", "k3"):
        keys = f"method={{name: {name}, {changed}, kl_estimator: {estimator}}}"
        try:
            options = load_config(write(tmp_path, text), [keys])
        except InputError as error:
            assert "kl_estimator k2 has no effect" in str(error) and changed != "beta: 0.1"
            continue
        METHODS.load(name)(options.method, options.trainer.steps)
        again = write(tmp_path, dump_config(options))
        assert load_config(again) == options


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("{}", (0.2, 0.2)),
        ("{loss: gspo_token}", (3e-4, 4e-4)),
        ("{name: grpo, loss: gspo, clip_high: 0.01}", (3e-4, 0.01)),
        ("{loss: cispo}", (None, 4.0)),
        ("{loss: gmpo}", (0.4, 0.4)),
        ("{loss: kl_cov}", (None, None)),
    ],
)
def test_the_clipping_bounds_are_those_of_the_loss_unless_given(
    method: str, wanted: tuple[float | None, float | None], tmp_path: Path
) -> None:
    text = LEAST + "trainer: {steps: 5}\n"
    found = load_config(write(tmp_path, text), [f"method={method}"]).method
    assert (found.clip_low, found.clip_high) == wanted
