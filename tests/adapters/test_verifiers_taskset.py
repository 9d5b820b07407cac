"""The taskset for verifiers, run by verifiers' own environment against a server of the OpenAI API,
on the starter model.

``make test-trainers`` installs verifiers 0.4.0 into a folder of its own. The loop here pulls tasks
and runs groups as prime-rl's orchestrator does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai_double import TOKEN, OpenAIDouble, served

from syngrpo.data_server.client import AskedSample, DataClient, Settled
from syngrpo.data_server.drawn_sample import SampleAccess
from syngrpo.data_server.synthesis_options import SynthesisOptions
from syngrpo.method.response import format_reward, parse_response
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import PoolSample
from syngrpo_rooms.dataset import rooms_samples

vf = pytest.importorskip(
    "verifiers.v1", reason="verifiers is not installed here; run make test-trainers"
)
verifiers_taskset = pytest.importorskip("syngrpo.adapters.verifiers_taskset")

GROUPS, GROUP, STEPS = 4, 4, 4

MODULE = """
from syngrpo.adapters.verifiers_taskset import EvolvingTaskset, OneQuestion
from test_verifiers_taskset import opened_client


class Rooms(EvolvingTaskset):
    prompt_style = "brief"

    def open_client(self):
        return opened_client(self.config.directory)


__all__ = ["Rooms", "OneQuestion"]
"""

clients: list[DataClient] = []
settled: list[Settled] = []


def opened_client(directory: Path) -> DataClient:
    client = DataClient.open(
        directory,
        rooms_samples("train", 8),
        groups_per_step=GROUPS,
        synthesis=SynthesisOptions(generator="rooms", mode="inline"),
    )
    settle = client.settle_reports

    def watched(reports: Any) -> tuple[list[Settled], dict[str, float]]:
        found, counts = settle(reports)
        settled.extend(found)
        return found, counts

    client.settle_reports = watched  # type: ignore[method-assign]
    clients.append(client)
    return client


@pytest.fixture
def taskset_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "rooms_taskset.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, "test_verifiers_taskset", sys.modules[__name__])
    monkeypatch.setenv("SERVER_KEY", TOKEN)
    yield "rooms-taskset"
    sys.modules.pop("rooms_taskset", None)


def environment(taskset_id: str, folder: Path) -> Any:
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    taskset = {"id": taskset_id, "directory": str(folder), "group_size": GROUP}
    agent = {"runtime": {"type": "subprocess"}}
    return load_environment(resolve_env_config({"taskset": taskset, "agent": agent}))


def context(server: OpenAIDouble) -> Any:
    client = vf.EvalClientConfig(base_url=f"{server.url}/v1", api_key_var="SERVER_KEY")
    return vf.ModelContext(
        model="starter", client=client, sampling=vf.Sampling(temperature=1.0, max_tokens=112)
    )


def stored(folder: Path) -> dict[str, PoolSample]:
    """Return the samples of a pool, by id."""
    with closing(Pool.open(folder)) as pool:
        found = chain(pool.samples("seed"), pool.samples("synthetic"))
        return {one.sample.id: one for one in found}


async def run(env: Any, server: OpenAIDouble, steps: int) -> list[list[Any]]:
    """Return the traces of each group, in the order of the draws."""
    groups = []
    async with env.serving():
        with closing(iter(env.taskset)) as tasks:
            for _ in range(steps):
                batch = [next(tasks) for _ in range(GROUPS)]
                runs = [env.run_episode(t, context(server)) for t in batch for _ in range(GROUP)]
                episodes = await asyncio.gather(*runs)
                assert all(one.ok for one in episodes), [one.errors for one in episodes]
                traces = [one.traces[0] for one in episodes]
                groups += [traces[i : i + GROUP] for i in range(0, len(traces), GROUP)]
    return groups


@pytest.mark.timeout(900)
def test_an_environment_of_verifiers_runs_on_images_that_evolve(
    taskset_id: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with served(OpenAIDouble(trained=True, generation_config={})) as server:
        env = environment(taskset_id, folder)
        assert env.taskset.INFINITE and type(env._harnesses["agent"]).__name__ == "OneQuestion"
        groups = asyncio.run(run(env, server, STEPS))
    samples = stored(folder)
    # Scores are those of our task, on the pool's own record of the sample.
    for group in groups:
        data = group[0].task.data
        sample = AskedSample(samples[data.sample_id].sample)
        elsewhere = verifiers_taskset.EvolvingTask(
            type(data).model_validate_json(data.model_dump_json())
        )
        for trace in group:
            assert trace.rewards["accuracy"].score == asyncio.run(elsewhere.accuracy(trace))
            assert trace.rewards["accuracy"].score == accuracy(sample, trace.last_reply)
            well_formed = format_reward(parse_response(trace.last_reply))
            assert trace.rewards["format"].value == pytest.approx(0.1 * well_formed)
    # D of every group was observed.
    measured: dict[str, list[float]] = {}
    for group in groups:
        scores = [trace.rewards["accuracy"].score for trace in group]
        measured.setdefault(group[0].task.data.sample_id, []).append(4 * float(np.var(scores)))
    for name, found in measured.items():
        assert samples[name].visits == len(found)
        assert samples[name].diversity_mean == pytest.approx(np.mean(found), abs=1e-6)
    # Descriptions were painted, asked about, and settled.
    painted = {name for name, one in samples.items() if one.sample.parent is not None}
    assert painted & set(measured)
    assert settled and all(np.isfinite(one.reward) for one in settled)
    assert {one.asked.id for one in settled} <= set(measured)
    state = json.loads((folder / "verifiers.json").read_text())
    assert state["steps"] == clients[-1].steps == STEPS


def test_a_rollout_that_failed_is_left_out_and_the_run_goes_on(
    taskset_id: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    taskset = environment(taskset_id, folder).taskset

    def report(task: Any, text: str, errors: list[str]) -> None:
        said = [vf.AssistantMessage(content=text)]
        trace = type("T", (), {"errors": errors, "assistant_messages": said, "last_reply": text})()
        asyncio.run(task.finalize(trace, None))

    with closing(iter(taskset)) as tasks:
        first = [next(tasks) for _ in range(GROUPS)]
        for task in first[:2]:
            for _ in range(GROUP - 1):
                report(task, "<answer>1</answer>", [])
            report(task, "", ["503"] if task is first[0] else [])
        later = [next(tasks) for _ in range(GROUPS)]
        assert not {t.data.sample_id for t in later} & {t.data.sample_id for t in first[2:]}
    visits = {name: one.visits for name, one in stored(folder).items()}
    # The group that is short of a response is observed at the end, the empty ones are not.
    assert [visits[task.data.sample_id] for task in first] == [1, 1, 0, 0]
    again = iter(environment(taskset_id, folder).taskset)
    with closing(again):
        assert next(again).data.idx == 0
        assert clients[-1].steps == 2


def accuracy(sample: SampleAccess, text: str) -> float:
    return sample.scored(parse_response(text).answer, "pixels").accuracy
