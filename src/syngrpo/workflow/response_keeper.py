"""Collects the responses of each step and hands them to the writer of ``responses/``.

Every process of a run has one ``ResponseKeeper``. In each step the trainer calls ``scored`` for all
responses, ``learned`` for those in the update, and ``end``, which gathers the kept ones from all
processes. Only the main process has a writer, which ``run`` sets.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from syngrpo.method.base import Method
from syngrpo.responses.drawn_answers import AnsweredGroup, Box, Marks, Point
from syngrpo.responses.response_rows import KeptResponse, KeptTokens
from syngrpo.responses.response_writer import ResponseWriter
from syngrpo.sample import InputError, Sample
from syngrpo.serving.timeline import traced
from syngrpo.serving.wording import first_line
from syngrpo.tasks.asking import marks_of
from syngrpo.workflow.groups import Group
from syngrpo.workflow.processes import Processes
from syngrpo.workflow.run_options import RunOptions
from syngrpo.workflow.step_metrics import StepMetrics
from syngrpo.workflow.update_rows import CreditedSegment, UpdateRow

logger = logging.getLogger(__name__)

SHOWN_GROUPS = 4
"""Groups of the last step that trackers show."""


class ResponseKeeper:
    """Keeps the responses of one process for the time of a step."""

    def __init__(self, options: RunOptions, processes: Processes, method: Method) -> None:
        self.writer: ResponseWriter | None = None
        self._options = options.logging.responses
        self._seed = options.trainer.seed
        self._processes = processes
        self._transforms = type(method).transform is not Method.transform
        self._groups: list[Group] = []
        self._last: list[Group] = []
        self._version = 0
        self._segments: dict[int, list[CreditedSegment]] = {}
        self._trained: Mapping[CreditedSegment, Tensor] = {}
        self._marks_told = False

    def scored(self, groups: Sequence[Group], version: int) -> None:
        """Take groups that this version of the policy has answered."""
        self._groups += groups
        self._version = version

    def learned(
        self,
        groups: Sequence[Group],
        rows: Sequence[UpdateRow],
        trained: Mapping[CreditedSegment, Tensor],
    ) -> None:
        """Take what entered the loss: the first rows are those of the groups, in their order.
        ``trained`` are the log-probabilities under the policy before the update."""
        for group, row in zip(groups, rows, strict=False):
            self._segments[group.index] = row.segments
        self._trained = trained

    @traced("keep responses")
    def end(self, step: int, count: int, metrics: StepMetrics) -> None:
        """Hand the responses of the step that are kept to the writer. ``count`` is the number of
        groups of all processes. All processes call this together."""
        groups, segments, trained = self._groups, self._segments, self._trained
        self._groups, self._segments, self._trained = [], {}, {}
        self._last = groups[:SHOWN_GROUPS]
        wanted = self._options.groups_kept(count)
        if not wanted or (self.writer is None and self._processes.count == 1):
            return
        order = np.random.default_rng([self._seed, step, *b"responses"]).permutation(count)
        kept = set(order[:wanted].tolist())
        whole = set(order[: self._options.groups_with_tokens(wanted)].tolist())
        rows = [
            row
            for group in groups
            if group.index in kept
            for row in self._rows(
                step, group, segments.get(group.index), trained, group.index in whole
            )
        ]
        rows = self._processes.gather(rows)
        if self.writer is not None:
            self.writer.add(rows)
            metrics.observe("responses/lost", self.writer.take_lost())

    def shown(self) -> list[AnsweredGroup]:
        """Return some groups of this process and the last step, as trackers show them."""
        return [
            AnsweredGroup(
                sample=group.drawn.sample,
                truth=self._marks(group.drawn.sample, group.drawn.sample.answer),
                marks=[self._marks(group.drawn.sample, one) for one in group.predictions],
                answers=[one.answer for one in group.parsed],
                accuracies=group.accuracies,
                descriptions=[one.scene for one in group.parsed if one.scene is not None],
                diversity=group.diversity,
            )
            for group in self._last
        ]

    def flush(self) -> None:
        """Return when everything that was kept is on the disk, or lost."""
        if self.writer is not None:
            self.writer.flush()

    def _rows(
        self,
        step: int,
        group: Group,
        segments: Sequence[CreditedSegment] | None,
        trained: Mapping[CreditedSegment, Tensor],
        with_tokens: bool,
    ) -> Iterator[KeptResponse]:
        """Yield the responses of a group. ``segments`` are those in the loss, None if they did not
        enter it."""
        sample = group.drawn.sample
        truth = _as_json(sample.answer)
        for place, (response, parsed) in enumerate(zip(group.responses, group.parsed, strict=True)):
            segment = segments[place] if segments is not None else None
            prediction = group.predictions[place]
            marks = self._marks(sample, prediction)
            begins_with_scene = parsed.scene_span is not None and parsed.scene_span[0] == 0
            outside = -1 if begins_with_scene else 0  # outside of the description, if anything is
            yield KeptResponse(
                step=step,
                group_index=group.index,
                response_index=place,
                policy_version=self._version,
                sample_id=sample.id,
                parent=sample.parent,
                dataset=sample.dataset,
                task=sample.task,
                question=sample.question,
                truth=truth,
                transformed=self._transforms,
                text=response.text,
                answer=parsed.answer,
                prediction=_as_json(prediction) if prediction is not None else None,
                boxes=marks.boxes,
                points=marks.points,
                description=parsed.scene.strip() if parsed.scene is not None else None,
                accuracy=float(group.accuracies[place]),
                format=float(group.format[place]),
                advantage=float(segment.advantages[outside]) if segment is not None else None,
                diversity=group.diversity,
                entropy=float(response.entropy.mean()),
                length=len(response.token_ids),
                finished=response.finished,
                in_loss=segment is not None,
                rewards={name: values[place] for name, values in group.custom.items()},
                tokens=_tokens(group, place, segment, trained) if with_tokens else None,
            )

    def _marks(self, sample: Sample, prediction: object) -> Marks:
        """Return the boxes and points that draw an answer; none where the task fails, which is said
        once."""
        boxes: list[Box] = []
        points: list[Point] = []
        try:
            for mark in marks_of(sample, prediction):
                if mark.box is not None:
                    x1, y1, x2, y2 = map(float, mark.box)
                    boxes.append((mark.label, x1, y1, x2, y2))
                if mark.point is not None:
                    x, y = map(float, mark.point)
                    points.append((mark.label, x, y))
        except (InputError, TypeError, ValueError) as error:  # this only draws
            if not self._marks_told:
                logger.warning("%s; answers of this kind are kept without boxes", first_line(error))
            self._marks_told = True
            return Marks()
        return Marks(boxes, points)


def _tokens(
    group: Group,
    place: int,
    segment: CreditedSegment | None,
    trained: Mapping[CreditedSegment, Tensor],
) -> KeptTokens:
    response = group.responses[place]
    logp = trained.get(segment) if segment is not None else None
    return KeptTokens(
        ids=response.token_ids.numpy(),
        entropy=response.entropy.numpy(),
        logp_sampling=response.logprobs.numpy(),
        advantages=segment.advantages.numpy() if segment is not None else None,
        logp_training=logp.cpu().numpy() if logp is not None else None,
    )


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
