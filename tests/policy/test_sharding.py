"""Two processes, each with a copy of the model or with half of it, learn what one learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sharded_updates import STEPS, Case, Outcome, load, together, updated
from tiny_families import save_tiny
from tiny_generic import GENERIC, save_generic

import syngrpo.workflow.processes
from syngrpo.sample import InputError
from syngrpo.workflow.processes import Processes

PLENTY = 10_000

CASES = {
    "everything": Case(beta=0.1, updates=2),
    "frozen tower, a process without rows": Case(freeze_vision=True, beta=0.1, rows=1),
    "adapters, checkpointing": Case(lora=True, loaded=True, beta=0.1, checkpointing=True),
    "deepstack, checkpointing": Case("qwen3_vl", checkpointing=True),
    "padded rows": Case("qwen3_5", token_budget=500),
    "called whole, a process without rows": Case("internvl", rows=1, token_budget=600),
    "called whole, frozen tower": Case("glm4v", freeze_vision=True, token_budget=600, beta=0.1),
    "bfloat16": Case(dtype="bfloat16", learning_rate=1e-4),
    "bfloat16 adapters": Case(dtype="bfloat16", lora=True, freeze_vision=True, beta=0.1),
    "no memory, forward": Case(token_budget=PLENTY, room=90),
    "no memory, backward": Case(token_budget=PLENTY, room=90, where="backward", beta=0.1),
    "no memory at all": Case(token_budget=PLENTY, room=60),
}
COPIED = (
    "everything",
    "frozen tower, a process without rows",
    "no memory, backward",
)
NEVER = "no memory at all"
RESUMED = ("everything", "bfloat16 adapters")
WAYS = {"one": (1, "none"), "shards": (2, "full"), "copies": (2, "none")}
"""Processes and sharding; each resumes what the one before it has saved."""

Results = Mapping[str, list[dict[str, Outcome]]]


def every_case(
    processes: Processes, models: dict[str, Path], sharding: str, earlier: dict[str, Any]
) -> dict[str, Outcome]:
    outcomes = {}
    syngrpo.workflow.processes.BUCKET_BYTES = 50_000  # several buckets of these small models
    copied = processes.count > 1 and sharding == "none"
    for name in (*COPIED, NEVER) if copied else CASES:
        case = CASES[name]
        enough = case if processes.count > 1 else replace(case, room=None)
        outcomes[name] = updated(models[case.family], enough, sharding, processes)
    for name, state in earlier.items():
        case = CASES[name]
        outcome = updated(models[case.family], case, sharding, processes, state, steps=1)
        outcomes[f"{name}, resumed"] = outcome
    return outcomes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    names = {case.family for case in CASES.values()}
    return {
        name: (save_generic if name in GENERIC else save_tiny)(folder / name, name)
        for name in names
    }


@pytest.fixture(scope="module")
def results(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("outcomes")
    results: dict[str, list[dict[str, Outcome]]] = {}
    earlier: dict[str, Any] = {}
    for way, (count, sharding) in WAYS.items():
        results[way] = together(count, folder / way, every_case, models, sharding, earlier)
        outcomes = results[way][0]
        earlier = {name: outcomes[name].earlier for name in RESUMED if name in outcomes}
    return results


def assert_same_weights(ours: dict[str, Any], theirs: dict[str, Any], case: Case) -> None:
    """Weights and both moments. AdamW turns a gradient that is only rounding into a whole step, so
    a few weights may be off; what decides about them is in the moments."""
    rate = case.learning_rate * STEPS * case.updates
    exact = case.dtype == "float32"
    assert ours["weights"].keys() == theirs["weights"].keys()
    off = total = 0
    for name, weight in theirs["weights"].items():
        assert ours["weights"][name].dtype == weight.dtype == torch.float32, name
        gap = (ours["weights"][name] - weight).abs()
        assert gap.max() <= 2.1 * rate, name
        off += int((gap > (2e-6 if exact else 0.2 * rate)).sum())
        total += gap.numel()
    assert off <= total * (1e-3 if exact else 0.05)
    assert ours["optimizer"]["state"].keys() == theirs["optimizer"]["state"].keys()
    for number, moments in theirs["optimizer"]["state"].items():
        for key in ("exp_avg", "exp_avg_sq"):
            other = ours["optimizer"]["state"][number][key]
            scale = float(moments[key].abs().max())
            tolerance = 1e-4 if exact else 0.1
            torch.testing.assert_close(other, moments[key], atol=tolerance * scale + 1e-9, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "name"),
    [("shards", name) for name in CASES if name != NEVER] + [("copies", name) for name in COPIED],
)
def test_the_same_losses_weights_and_samples(results: Results, way: str, name: str) -> None:
    case, expected = CASES[name], results["one"][0][name]
    main, other = (outcomes[name] for outcomes in results[way])
    exact = case.dtype == "float32"
    assert not main.problem and len(expected.losses) == STEPS
    assert main.losses[0] == pytest.approx(expected.losses[0], abs=1e-6 if exact else 2e-3)
    # Adam's first step is as large for a gradient of nearly nothing, whose sign is rounding.
    assert main.losses == pytest.approx(expected.losses, abs=5e-6 if exact else 2e-3)
    assert main.norms == pytest.approx(expected.norms, rel=1e-5 if exact else 2e-2)
    assert main.losses == other.losses and main.norms == other.norms
    assert_same_weights(main.state, expected.state, case)
    if exact and case.room is None:
        assert main.sampled == expected.sampled and len(main.sampled) == 2 * case.rows
    if case.room is not None:
        assert other.tried[0] > case.room >= max(other.tried[-3:])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_process_keeps_half_of_what_is_trained(results: Results, name: str) -> None:
    halves = [outcomes[name].local for outcomes in results["shards"]]
    whole = sum(4 * weight.numel() for weight in results["one"][0][name].state["weights"].values())
    assert sum(halves) == whole
    assert max(halves) < 0.52 * whole


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copies", "shards"])
def test_no_memory_at_all_ends_all_processes_with_the_same_words(
    results: Results, way: str
) -> None:
    main, other = (outcomes[NEVER] for outcomes in results[way])
    assert "and again with" in main.problem and main.problem == other.problem
    assert "set trainer.token_budget to" in main.problem
    assert max(other.tried) > 60


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("way", ["shards", "copies"])
def test_a_checkpoint_is_for_any_number_of_processes(results: Results, way: str, name: str) -> None:
    outcome, straight = results[way][0][f"{name}, resumed"], results["one"][0][name]
    tolerance = 1e-6 if CASES[name].dtype == "float32" else 2e-3
    assert outcome.losses == pytest.approx(straight.losses[-1:], abs=tolerance)
    assert outcome.losses != pytest.approx(straight.losses[:1], abs=2 * tolerance)
    for part in ("last_epoch", "_last_lr"):
        assert outcome.state["schedule"][part] == straight.state["schedule"][part]
    assert_same_weights(outcome.state, straight.state, CASES[name])


def test_shards_learn_and_resume_what_one_process_does(tmp_path: Path) -> None:
    """One small case of those above, for a quick look."""
    model = {"internvl": save_generic(tmp_path / "model", "internvl")}
    (one,) = together(1, tmp_path / "one", one_case, model, "none")
    shards = together(2, tmp_path / "shards", one_case, model, "full")
    for straight, resumed in shards:
        assert straight.losses == pytest.approx(one[0].losses, abs=5e-6)
        assert resumed.losses == pytest.approx(one[0].losses[-1:], abs=1e-6)
    assert_same_weights(shards[0][0].state, one[0].state, SMALL)
    assert_same_weights(shards[0][1].state, one[0].state, SMALL)


SMALL = Case("internvl", rows=2, token_budget=600)


def one_case(
    processes: Processes, models: dict[str, Path], sharding: str
) -> tuple[Outcome, Outcome]:
    straight = updated(models["internvl"], SMALL, sharding, processes)
    saved = processes.share(straight.earlier)  # only the main process has one
    return straight, updated(models["internvl"], SMALL, sharding, processes, saved, steps=1)


def stops(processes: Processes, model: Path) -> list[str]:
    """The second process stops where the first is about to wait for it, in every kind of way."""
    heard = []
    policy = load(model, Case(), "full", processes)

    def meet(kind: str) -> None:
        if kind == "whole":
            with processes.whole(policy):
                pass
        elif kind == "share":
            processes.share(1)
        elif kind == "gather":
            processes.gather([1])
        else:
            processes.agree()

    for kind in ("share", "gather", "agree", "whole"):
        try:
            meet(kind)
            if processes.rank == 1:
                raise InputError(f"{kind}: a reason")
            meet(kind)
        except InputError as error:
            processes.tell(str(error))
            heard.append(str(error))
        processes.__dict__["_stopped"] = False
    return heard


def test_why_one_stops_reaches_all(models: dict[str, Path], tmp_path: Path) -> None:
    heard = together(2, tmp_path, stops, models["qwen2_5_vl"])
    kinds = ["share", "gather", "agree", "whole"]
    assert heard == [[f"{kind}: a reason" for kind in kinds]] * 2
