"""Images that evolve for verifiers and prime-rl: an infinite taskset, its rewards, and a harness.

    # my_images.py
    class MyImages(EvolvingTaskset):
        coordinates = "0-1000"

        def open_client(self):
            return DataClient.open(self.config.directory, samples, groups_per_step=8, …)

    __all__ = ["MyImages", "OneQuestion"]

The process that loads the taskset (of ``eval``, or prime-rl's orchestrator) has the client and
draws. A task holds all that is needed to score a response, because environments may run in other
processes. These score it and append a line to a file below ``directory/reports``; with the draws
of the next step the first process reads the lines, observes D of every group that is complete, and
submits its descriptions. So both must reach the same folder.

A description gets no reward: that is known steps later, and verifiers scores a response once.
The accuracy counts for all tokens of a response, those of the description too.

Tried with verifiers 0.4.0.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import verifiers.v1 as vf
from pydantic import Field
from verifiers.v1.dialects.chat import message_to_wire

from syngrpo.adapters.client_state import load_state, read_state, write_state
from syngrpo.adapters.report_rows import append_row, readable_rows
from syngrpo.adapters.tried_version import check_tried_version
from syngrpo.adapters.unscored_response import unscored
from syngrpo.boxes import CoordinateFrame
from syngrpo.data_server.client import (
    AskedSample,
    DataClient,
    DrawnSample,
    ModelCoordinates,
)
from syngrpo.data_server.drawn_sample import FrameOf
from syngrpo.data_server.sample_wire import sample_data, sample_from, unread_image
from syngrpo.method.response import format_reward, parse_response
from syngrpo.tasks import PromptStyle

__all__ = ["EvolvingConfig", "EvolvingData", "EvolvingTask", "EvolvingTaskset", "OneQuestion"]

log = logging.getLogger(__name__)

TRIED = "0.4"
REMEMBERED_STEPS = 8
"""A group that is still not complete after so many steps is observed with the responses it has."""


class EvolvingConfig(vf.TasksetConfig):
    """The options under ``env.taskset``."""

    directory: Path = Path("runs/verifiers")
    """The client's directory, for this run alone; environments reach it by the same path."""
    group_size: int = Field(8, ge=2)
    """Rollouts of a task, as the trainer makes them."""


class EvolvingData(vf.TaskData):
    """One drawn sample. The picture is in the prompt.

    ``record`` is the sample as ``sample_wire`` writes it, ``frame`` the width and height in which
    the model writes boxes, ``reports`` the folder for what was measured.
    """

    sample_id: str
    record: dict[str, Any]
    frame: tuple[float, float]
    reports: str


class EvolvingTask(vf.Task[EvolvingData]):
    """Scores a response, and reports it once its rollout has ended."""

    async def finalize(self, trace: Any, runtime: Any) -> None:
        """Append the response and its accuracy to this process's file of reports. A rollout that
        failed is left out."""
        if trace.errors or not trace.assistant_messages:
            return
        text = trace.last_reply
        row = {"sample": self.data.sample_id, "text": text, "accuracy": self._accuracy(text)}
        folder = Path(self.data.reports)
        folder.mkdir(parents=True, exist_ok=True)
        append_row(folder / f"{os.uname().nodename}-{os.getpid()}.jsonl", row)

    @vf.reward
    async def accuracy(self, trace: Any) -> float:
        """Return the accuracy of the answer in [0, 1]."""
        return self._accuracy(trace.last_reply)

    @vf.reward(weight=0.1)
    async def format(self, trace: Any) -> float:
        """Return 1 for a well-formed response, else 0."""
        return format_reward(parse_response(trace.last_reply))

    def _accuracy(self, text: str) -> float:
        content = base64.b64decode(_picture_url(self.data.prompt).partition(",")[2])
        image = unread_image(self.data.record, content)
        asked = AskedSample(sample_from(self.data.record, image))
        width, height = self.data.frame
        frame = CoordinateFrame(width, height, image.width, image.height)
        return asked.scored(parse_response(text).answer, frame).accuracy


class EvolvingTaskset(vf.Taskset[EvolvingTask, EvolvingConfig]):
    """The taskset. A subclass says how the client is opened.

    ``coordinates`` are those in which the model writes boxes, or a function that returns them for a
    sample; ``prompt_style`` is "brief" for a model that knows the response format.
    """

    INFINITE = True
    coordinates: ClassVar[ModelCoordinates | FrameOf] = "pixels"
    prompt_style: ClassVar[PromptStyle] = "full"

    def open_client(self) -> DataClient:
        """Return the client of the run, in the directory ``self.config.directory``."""
        raise NotImplementedError("write a subclass of EvolvingTaskset with open_client")

    def load(self) -> Iterator[EvolvingTask]:
        """Yield tasks without end. Opens the client, and closes it with the iterator."""
        check_tried_version("verifiers", TRIED)
        steps = _Steps(self.open_client(), self.config.directory, self.config.group_size)
        try:
            for number, sample in enumerate(steps.samples()):
                yield EvolvingTask(self._data(number, sample), self.config.task)
        finally:
            steps.close()

    def _data(self, number: int, sample: DrawnSample) -> EvolvingData:
        frame = sample.frame(type(self).coordinates)
        content = [
            vf.ImageUrlContentPart(image_url=vf.ImageUrlSource(url=_png_url(sample))),
            vf.TextContentPart(text=sample.prompt(type(self).prompt_style)),
        ]
        return EvolvingData(
            idx=number,
            name=sample.id,
            prompt=[vf.UserMessage(content=content)],
            sample_id=sample.id,
            record=json.loads(json.dumps(sample_data(sample.sample))),
            frame=(frame.width, frame.height),
            reports=str(_reports(self.config.directory)),
        )


class OneQuestionConfig(vf.HarnessConfig):
    """The options under ``env.agent.harness``."""


class OneQuestion(vf.Harness[OneQuestionConfig]):
    """A harness that sends the prompt and takes the answer, without a program of its own."""

    EXECUTES_CODE: ClassVar[bool] = False
    NEEDS_CONTAINER: ClassVar[bool] = False
    APPENDS_SYSTEM_PROMPT: ClassVar[bool] = True

    async def launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: Any,
    ) -> Any:
        system, prompt = self.resolve_prompt(data)
        messages = [vf.SystemMessage(content=system)] if system else []
        asked = [message_to_wire(message) for message in [*messages, *prompt]]
        async with httpx.AsyncClient(timeout=None, trust_env=False) as http:
            answer = await http.post(
                f"{endpoint}/chat/completions",
                json={"model": ctx.model, "messages": asked},
                headers={"Authorization": f"Bearer {secret}"},
            )
        if answer.is_success:
            return vf.ProgramResult(0, "", "")
        return vf.ProgramResult(1, "", f"status {answer.status_code}: {answer.text}")


class _Steps:
    """The client's side: draws, and reports what environments have measured.

    A step is ``client.groups_per_step`` draws. ``drawn`` are samples whose group is not reported
    yet, with the step in which they were drawn; ``rows`` the responses to each of them.
    """

    def __init__(self, client: DataClient, directory: Path, group_size: int) -> None:
        self._client, self._group_size = client, group_size
        self._state = directory / "verifiers.json"
        self._folder = _reports(directory)
        self._drawn: dict[str, tuple[int, DrawnSample]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._read: dict[Path, int] = {}
        for file in self._folder.glob("*.jsonl"):
            file.unlink()  # of samples that will be drawn again
        if self._state.exists():
            remedy = "move it away, so that the client begins with its first step"
            load_state(client, read_state(self._state, remedy), self._state)

    def samples(self) -> Iterator[DrawnSample]:
        """Yield samples without end. The end of a step is before the draws of the next."""
        for step in itertools.count():
            if step:
                self._end(step)
            for sample in self._client.draw():
                self._drawn[sample.id] = step, sample
                yield sample

    def close(self) -> None:
        """Report what was measured since the last step, and close the client."""
        try:
            self._end(None)
        finally:
            self._client.close()

    def _end(self, step: int | None) -> None:
        """End a step: observe the groups that are complete, submit their descriptions, and save the
        client's state. ``step`` is the next one, None for the end of the run."""
        for row in self._new_rows():
            if row["sample"] in self._drawn:
                self._rows.setdefault(row["sample"], []).append(row)
        ready: list[tuple[DrawnSample, list[dict[str, Any]]]] = []
        for name, (drawn_in, sample) in list(self._drawn.items()):
            rows = self._rows.get(name, [])
            late = step is None or step - drawn_in > REMEMBERED_STEPS
            if len(rows) >= self._group_size or late:
                del self._drawn[name]
                self._rows.pop(name, None)
                if len(rows) > 1:  # the others will be drawn again
                    ready.append((sample, rows))
        for sample, rows in ready:
            self._client.observe(sample, [row["accuracy"] for row in rows])
        for sample, rows in ready:
            self._client.submit(sample, [unscored(row["text"], [0]) for row in rows])
        self._client.outcomes()
        write_state(self._client, self._state)
        log.info("syngrpo: %s", self._client.stats().metrics())

    def _new_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that were written since the last call. A line that is just being written
        has no line feed yet, and waits."""
        for file in sorted(self._folder.glob("*.jsonl")):
            with file.open("rb") as lines:
                lines.seek(self._read.get(file, 0))
                whole = lines.read().rpartition(b"\n")[0]
            if whole:
                self._read[file] = self._read.get(file, 0) + len(whole) + 1
                yield from readable_rows(file, whole)


def _reports(directory: Path) -> Path:
    return directory.absolute() / "reports"


def _png_url(sample: DrawnSample) -> str:
    file = io.BytesIO()
    sample.picture().save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _picture_url(prompt: Any) -> str:
    (url,) = [
        part.image_url.url
        for message in prompt
        for part in message.content
        if isinstance(part, vf.ImageUrlContentPart)
    ]
    return str(url)
