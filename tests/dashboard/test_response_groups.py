"""What the tab Responses reads, compared with what pandas reads from the same files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kept_responses import TEXT, made_up, texts_of, tokens, write_steps
from made_up_run import fill_pool

from syngrpo.dashboard.reading.followed_run import FollowedRun
from syngrpo.dashboard.responses.asked_responses import Asked, filtered, listed, no_responses
from syngrpo.dashboard.responses.drawn_group import drawn_group
from syngrpo.dashboard.responses.response_groups import (
    NEWEST_STEPS,
    SORTS,
    GroupFilter,
    group_responses,
    groups_of_sample,
    groups_of_step,
    groups_with_text,
    selected,
)
from syngrpo.dashboard.responses.token_overlay import EMPTY, overlay_limit, shown_tokens
from syngrpo.pool.store import Pool
from syngrpo.pool.stored_samples import Observation
from syngrpo.responses.response_files import response_files
from syngrpo.responses.response_rows import KeptResponse, parts_of_text
from syngrpo.responses.response_writer import ResponseWriter


def keep(run: Path, *rows: KeptResponse) -> None:
    writer = ResponseWriter(run / "responses", texts_of, ["brevity"])
    writer.add(rows)
    writer.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FollowedRun]:
    write_steps(tmp_path / "responses", *range(1, 8))
    followed = FollowedRun("run", tmp_path)
    yield followed
    followed.close()


def frame_of(run: FollowedRun) -> pd.DataFrame:
    files = sorted((run.directory / "responses").glob("*.parquet"))
    return pd.concat(map(pd.read_parquet, files))


def test_groups_are_those_that_pandas_groups(run: FollowedRun) -> None:
    frame = frame_of(run).query("step == 3").assign(size=lambda one: one.advantage.abs())
    expected = frame.groupby("group_index").agg(
        {"accuracy": "mean", "diversity": "first", "size": "max", "parent": "count"}
    )
    found = groups_of_step(run.responses, 3)
    assert [group.key for group in found] == [(3, 0), (3, 1)]
    assert [group.accuracy for group in found] == pytest.approx(list(expected.accuracy))
    assert [group.diversity for group in found] == pytest.approx(list(expected.diversity))
    assert [group.advantage for group in found] == pytest.approx(list(expected["size"]))
    assert [group.synthetic for group in found] == [count > 0 for count in expected.parent]
    assert {group.responses for group in found} == {3}


def test_sorting_and_filtering(tmp_path: Path) -> None:
    numbers = [(0.1, 0.9, 2.0), (0.5, 0.2, 0.1), (0.3, 0.4, None), (float("nan"), 0.6, -3.0)]
    rows = [
        made_up(1, n, diversity=d, accuracy=a, advantage=v, task="rec" if n else "ovd")
        for n, (d, a, v) in enumerate(numbers)
    ]
    keep(tmp_path, *rows)
    groups = groups_of_step(FollowedRun("run", tmp_path).responses, 1)

    def order(sort: str, **wanted: object) -> list[int]:
        return [g.group_index for g in selected(groups, GroupFilter(**wanted), sort)]  # type: ignore[arg-type]

    assert order("D") == [1, 2, 0, 3] and order("-D") == [0, 2, 1, 3]
    assert order("accuracy") == [1, 2, 3, 0] and order("-accuracy") == [0, 3, 2, 1]
    assert order("advantage") == [3, 0, 1, 2]
    assert order("order") == order("no such") == [0, 1, 2, 3]
    assert order("order", low=0.4, high=0.6) == [2, 3]
    assert order("order", task="ovd") == [0] and order("order", kind="seed") == [1, 3]
    assert order("order", kind="synthetic", high=0.5) == [2]
    assert set(SORTS) == {"D", "-D", "accuracy", "-accuracy", "advantage", "order"}


def test_a_search_finds_questions_texts_and_ids(tmp_path: Path) -> None:
    keep(
        tmp_path,
        made_up(1, 0, question="the RED cup"),
        made_up(1, 1, 0),
        made_up(1, 1, 1, text="<think>a Red.*wall</think>"),
        made_up(1, 2, sample_id="red-7"),
        made_up(1, 3),
    )
    kept = FollowedRun("run", tmp_path).responses
    groups = groups_of_step(kept, 1)

    def found(text: str) -> list[int]:
        return [group.group_index for group in groups_with_text(kept, groups, text)]

    assert found("red") == [0, 1, 2] and found("red.*wall") == [1]
    assert found("left") == [1, 2, 3]  # in the question of the others, “left”
    assert found("nowhere") == []


def test_the_responses_of_a_sample_are_read_from_the_steps_that_the_pool_knows(
    run: FollowedRun,
) -> None:
    kept = run.responses
    every = [group.step for group in groups_of_sample(kept, None, "sample-1")]
    assert every == list(range(1, 8))
    fill_pool(run.directory, families=2)
    pool = run.pool()
    assert pool is not None
    assert [g.step for g in groups_of_sample(kept, pool, "sample-1")] == every  # not in it
    seed = pool.seed_ids()[0]
    for step in (9, 10, 10 + NEWEST_STEPS):
        keep(run.directory, made_up(step, 3, sample_id=seed))
    with closing(Pool.open(run.directory)) as writing:
        writing.observe([Observation(seed, 9, 8, 0.5, 0.5)])
    (run.directory / "responses" / "steps-00000003-00000004.parquet").write_bytes(b"not opened")
    found = [group.key for group in groups_of_sample(kept, pool, seed)]
    assert found == [(9, 3), (10 + NEWEST_STEPS, 3)]  # nothing says that it was drawn in step 10
    assert kept.problems == []


def test_a_group_is_read_with_its_tokens(run: FollowedRun) -> None:
    responses = group_responses(run.responses, 4, 0)
    assert [one.number for one in responses] == [0, 1, 2]
    first = responses[0]
    assert first.text == TEXT and first.rewards == {"brevity": 0.5} and responses[1].rewards == {}
    assert [mark.box for mark in first.marks] == [(1, 2, 3, 4)]
    assert first.marks[0].label == "1: 0.00" and responses[2].marks[0].label == "3: 0.50"
    assert first.tokens is not None and "".join(first.tokens.texts) == TEXT
    row = frame_of(run).query("step == 4 and group_index == 0").iloc[0]
    mismatch = row.token_logp_training - row.token_logp_sampling
    assert first.tokens.mismatch == pytest.approx(list(mismatch))
    assert first.tokens.entropy == pytest.approx(list(row.token_entropy))
    assert list(first.tokens.parts) == list(row.token_parts)
    assert group_responses(run.responses, 4, 1)[0].tokens is None
    assert group_responses(run.responses, 99, 0) == []


def test_an_overlay_has_the_same_scale_in_all_responses_of_a_group(run: FollowedRun) -> None:
    responses = group_responses(run.responses, 4, 0)
    limit = overlay_limit(responses, "advantage")
    assert limit == 1.0 and overlay_limit([], "entropy") == 0 == overlay_limit(responses, "part")
    assert responses[0].tokens is not None
    shown = shown_tokens(responses[0].tokens, "advantage", limit)
    assert [token.strength for token in shown] == [1, 0.875, 0.75, 0.625, 0.5, 0.375]
    assert {token.style for token in shown} == {"minus"} and shown[-1].text == EMPTY
    assert shown[1].values == "think\nadvantage -0.875\nentropy 0.125\nmismatch -0.12500"
    assert len(shown_tokens(responses[0].tokens, "part", 0, most=2)) == 2


def test_tokens_without_a_value_have_no_colour(tmp_path: Path) -> None:
    whole = tokens()
    whole.logp_sampling[:] = float("nan")
    kept = type(whole)(whole.ids, whole.entropy, whole.logp_sampling, None, whole.logp_training)
    keep(tmp_path, made_up(1, tokens=kept, advantage=None, in_loss=False))
    run = FollowedRun("run", tmp_path)
    (response,) = group_responses(run.responses, 1, 0)
    assert response.tokens is not None and not response.in_loss
    for overlay in ("advantage", "mismatch"):
        assert overlay_limit([response], overlay) == 0
        shown = shown_tokens(response.tokens, overlay, 0)
        assert {(token.style, token.strength) for token in shown} == {("", 0)}
    assert "advantage –" in shown[0].values


def test_parts_of_a_text_are_the_text() -> None:
    text = "so <think>a</think> <answer>b</answer>\n<scene>c"
    parts = parts_of_text(text)
    assert "".join(piece for _, piece in parts) == text
    assert [part for part, _ in parts] == ["other", "think", "other", "answer", "other", "scene"]
    assert parts_of_text("") == [] and parts_of_text("a") == [("other", "a")]


def test_the_address_says_what_is_shown(run: FollowedRun) -> None:
    asked = Asked.of({"step": "4", "group": "1", "response": "2", "search": "CUP", "low": "0.1"})
    now = listed(run, asked)
    assert now.asked == asked and [group.key for group in now.groups] == [(4, 1), (4, 0)]
    assert Asked.of({k: str(v) for k, v in asked.query().items() if v is not None}) == asked
    other = filtered(run, Asked.of({"step": "4", "group": "1", "kind": "synthetic"}), now.read)
    assert other.asked.group == (4, 0) and other.asked.response is None
    none = filtered(run, Asked.of({"step": "4", "search": "nowhere"}), now.read)
    assert none.groups == [] and none.note == "The filters take none of the 2 groups."
    odd = Asked.of({"step": "-3", "group": "x", "sort": "x", "low": "nan", "high": "7"})
    assert odd == Asked.of({})
    assert listed(run, odd).asked.step == 7


def test_a_step_without_responses_becomes_the_nearest(run: FollowedRun) -> None:
    keep(run.directory, made_up(20))
    for wanted, step in (("11", 7), ("16", 20), ("999", 20), ("0", 1)):
        now = listed(run, Asked.of({"step": wanted}))
        assert now.asked.step == step and now.groups and "the nearest" in now.note
    assert listed(run, Asked.of({"sample": "no such"})).note.startswith("No responses")


def test_a_picture_that_cannot_be_shown_says_why(run: FollowedRun) -> None:
    pictures = fill_pool_and_answer(run)
    shown = {}
    for group in groups_of_step(run.responses, 9):
        shown[group.group_index] = drawn_group(run, group, "/picture?x")
    fine = shown[0]
    assert fine.picture is not None and fine.picture.href == "/picture?x" and fine.why == ""
    assert [drawn.answer for drawn in fine.picture.drawn] == [None, 0]
    assert "transformed" in shown[1].why and "no sample gone" in shown[2].why
    assert "There is no picture" in shown[3].why and pictures[1] in shown[3].line.sample_id
    for group in list(shown.values())[1:]:
        assert group.picture is None and json.loads(group.truth) == [1, 2, 3, 5]


def fill_pool_and_answer(run: FollowedRun) -> list[str]:
    fill_pool(run.directory, families=3)
    pool = run.pool()
    assert pool is not None
    first, second, *_ = pool.seed_ids()
    path = pool.get(second).image.path
    assert path is not None
    path.write_bytes(b"no picture")
    keep(
        run.directory,
        made_up(9, 0, sample_id=first),
        made_up(9, 1, sample_id=first, transformed=True),
        made_up(9, 2, sample_id="gone"),
        made_up(9, 3, sample_id=second),
    )
    return [first, second]


def test_boxes_and_tokens_without_a_value_are_left_out(run: FollowedRun) -> None:
    file = response_files(run.directory / "responses")[0]
    table = pq.read_table(file.path)
    nan = {"label": None, "x1": float("nan"), "y1": 1.0, "x2": None, "y2": 4.0}
    changed = {
        "boxes": [nan, None, nan | {"x1": 0.0, "x2": 3.0}],
        "points": [{"label": "p", "x": None, "y": 1.0}],
        "token_texts": ["a", None],
        "token_parts": ["think"],
        "token_advantages": [1.0, 2.0, 3.0],
        "token_entropy": [float("nan"), 0.5],
    }
    for name, value in changed.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        values = pa.array([value] * table.num_rows, field.type)
        table = table.set_column(place, field, values)
    pq.write_table(table, file.path)
    response = group_responses(run.responses, file.first, 0)[0]
    assert [mark.box for mark in response.marks] == [(0.0, 1.0, 3.0, 4.0)]
    tokens = response.tokens
    assert tokens is not None and tokens.texts == ["a", ""] and tokens.parts == ["other"] * 2
    assert tokens.advantage == [None] * 2 and tokens.entropy == [None, 0.5]
    assert len(shown_tokens(tokens, "entropy", 1.0)) == 2


def test_files_of_another_version_and_damaged_ones_are_no_error(run: FollowedRun) -> None:
    files = response_files(run.directory / "responses")
    frame = pd.read_parquet(files[0].path)
    frame["accuracy"] = frame["accuracy"].astype(str)  # another type
    frame.to_parquet(files[0].path)
    frame = pd.read_parquet(files[1].path)
    frame[["step", "group_index", "response_index", "text"]].to_parquet(files[1].path)
    assert listed(run, Asked.of({"step": str(files[1].first)})).groups
    (line,) = [g for g in groups_of_step(run.responses, files[1].first) if g.group_index == 0]
    shown = drawn_group(run, line, "")
    assert line.diversity is None and line.accuracy is None and line.question == ""
    assert shown.picture is None and len(shown.responses) == 3
    listed(run, Asked.of({"step": str(files[0].first)}))
    assert all("cannot be read" in problem for problem in run.responses.problems)
    files[2].path.write_bytes(b"PAR1")
    assert listed(run, Asked.of({"step": str(files[2].first)})).asked.step is not None
    assert run.responses.problems


def test_a_run_without_responses_says_how_they_are_kept() -> None:
    assert "logging.responses.keep: all" in no_responses({})
    assert "keeps no responses" in no_responses({"logging": {"responses": {"keep": "none"}}})
    assert "no responses yet" in no_responses({"logging": {"responses": {"keep": "8-per-step"}}})
    assert "logging.responses.keep" in no_responses({"logging": ["odd"]})
