"""The samples of a step in a trainer built on accelerate, in each of its processes.

``trl_data`` and ``swift_plugin`` use this. ``client`` is None but in the main process, which draws
and reports; all processes call ``draw`` and ``end_step`` together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from syngrpo.adapters.unscored_response import unscored as unscored
from syngrpo.data_server.client import (
    DataClient,
    DrawnSample,
    ModelCoordinates,
    Settled,
    WrittenResponse,
    shared_draw,
)
from syngrpo.data_server.drawn_sample import FrameOf
from syngrpo.method.response import parse_response
from syngrpo.sample import InputError
from syngrpo.tasks import PromptStyle

REMEMBERED_STEPS = 8
"""The samples of this many steps stay in memory: the trainer draws ahead of scoring."""


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """One response of this process: the sample, its accuracy, and the response if it is one of
    those whose description is offered."""

    sample_id: str
    accuracy: float
    written: WrittenResponse | None


class SharedImages:
    """The samples that one process knows.

    ``groups_per_step`` is the number of different prompts of a generation batch. ``coordinates``
    are those in which the model writes boxes, or a function that returns them for a sample.
    ``prompt_style`` is "brief" for a model that knows the response format.
    """

    def __init__(
        self,
        client: DataClient | None,
        groups_per_step: int,
        *,
        coordinates: ModelCoordinates | FrameOf = "pixels",
        prompt_style: PromptStyle = "full",
    ) -> None:
        self.client = client
        self.groups_per_step = groups_per_step
        self.coordinates = coordinates
        self.prompt_style = prompt_style
        self._drawn: dict[str, DrawnSample] = {}
        self._unscored = 0  # draws since the last step was reported

    def draw(self, count: int | None = None) -> list[DrawnSample]:
        """Draw in the main process, ``groups_per_step`` samples unless ``count`` is given, and
        return the same samples in all processes. Raises InputError when the trainer draws far more
        than it scores."""
        self._unscored += 1
        if self._unscored > REMEMBERED_STEPS:
            raise InputError(
                f"{REMEMBERED_STEPS} batches were drawn and no response was scored since; set "
                "shuffle_dataset=False (it would draw a thousand samples ahead), and give the "
                "trainer all the rewards of this adapter"
            )
        drawn = shared_draw(self.client, self.groups_per_step if count is None else count, share)
        for sample in drawn:
            self._drawn.pop(sample.id, None)
            self._drawn[sample.id] = sample
        while len(self._drawn) > REMEMBERED_STEPS * self.groups_per_step:
            del self._drawn[next(iter(self._drawn))]
        return drawn

    def sample(self, name: str) -> DrawnSample:
        """Return a drawn sample by its id. Raises InputError when it is not known any more."""
        found = self._drawn.get(name)
        if found is None:
            raise InputError(
                f"sample {name} was drawn more than {REMEMBERED_STEPS} steps ago or by another "
                f"dataset; use the rewards with the dataset of the same {type(self).__name__}"
            )
        return found

    def is_parent(self, sample_id: str, max_depth: int) -> bool:
        """Return whether images are painted from a sample."""
        return self.sample(sample_id).sample.depth < max_depth

    def accuracy_of(self, name: str, text: str) -> float:
        """Return the accuracy in [0, 1] of a response to the sample with this id."""
        answer = parse_response(text).answer
        return self.sample(name).scored(answer, self.coordinates).accuracy

    def end_step(self, rows: Sequence[ScoredRow]) -> list[Settled]:
        """Report the responses of all processes to the client, and return the descriptions whose
        reward is known now, in every process the same. All processes call this together."""
        self._unscored = 0
        everything: list[ScoredRow] = gather_object(list(rows))
        settled: list[Settled] = []
        if self.client is not None:
            groups: dict[str, list[ScoredRow]] = {}
            for row in everything:
                groups.setdefault(row.sample_id, []).append(row)
            for name, group in groups.items():
                self.client.observe(self.sample(name), [row.accuracy for row in group])
            for name, group in groups.items():
                written = [row.written for row in group if row.written is not None]
                self.client.submit(self.sample(name), written)
            settled = self.client.outcomes()
        return share(settled)

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the client in the main process, nothing in the others."""
        return self.client.stats().metrics() if self.client is not None else {}

    def close(self) -> None:
        """Forget the samples. The client stays open."""
        self._drawn.clear()


def share(value: Any) -> Any:
    """Return the main process's value in every process."""
    return broadcast_object_list([value])[0]
