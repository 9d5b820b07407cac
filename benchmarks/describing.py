"""Counts the tokens that an engine samples, with and without descriptions that nobody paints.

    python -m benchmarks.describing

The starter model answers training pictures of the rooms world. All responses of a group describe
new surroundings (``method.describing: all``), or only the first ones and the others end after the
answer. The counts depend on the model and the seeds alone, not on the speed of the machine.
"""

from __future__ import annotations

import argparse

from benchmarks.results import write_section
from syngrpo.method.method_options import MethodOptions
from syngrpo.method.response import ANSWER_END
from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.rollout.base import to_response
from syngrpo.rollout.native import rollout
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.tasks import get_task
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR

GROUP, MAX_NEW_TOKENS = 8, 112
TASKS = ("rec", "ovd", "isr")


def lengths(task: str, pictures: int) -> list[list[tuple[int, int]]]:
    """Return the tokens of each response, by picture: of the whole, and up to the answer's end."""
    policy = load_policy(STARTER_DIR)
    samples = rooms_samples("train", pictures, task=task)
    prompts = [encode(policy, one, get_task(task).prompt(one, "brief")) for one in samples]
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    groups = rollout(policy, prompts, GROUP, sampling, list(range(pictures)))
    return [
        [(len(one.token_ids), len(to_response(policy, one, ANSWER_END).token_ids)) for one in group]
        for group in groups
    ]


def sampled(groups: list[list[tuple[int, int]]], describing: int) -> float:
    """Return the mean number of tokens of a response if the first of each group describe."""
    kept = [
        whole if place < describing else answer
        for group in groups
        for place, (whole, answer) in enumerate(group)
    ]
    return sum(kept) / len(kept)


def row(task: str, pictures: int) -> str:
    groups = lengths(task, pictures)
    described = MethodOptions().descriptions_per_group
    every, some, none = (sampled(groups, count) for count in (GROUP, described, 0))
    half = (some + none) / 2
    return f"| {task} | {every:.1f} | {some:.1f} | {none:.1f} | {half:.1f} | {half / every:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=32)
    arguments = parser.parse_args()
    described = MethodOptions().descriptions_per_group
    body = "\n".join(
        [
            f"{arguments.pictures} training pictures of the rooms world, G = {GROUP}, at most "
            f"{MAX_NEW_TOKENS} tokens, the starter model; tokens sampled for a response on "
            f"average. The {described} first responses to a seed picture describe new "
            "surroundings, none to a painted one; a batch has half of each.",
            "",
            f"| task | all describe | {described} of {GROUP} do | none does | a batch | "
            "of all describing |",
            "|---|---|---|---|---|---|",
            *(row(task, arguments.pictures) for task in TASKS),
        ]
    )
    print(body)
    write_section("Tokens of descriptions", body)


if __name__ == "__main__":
    main()
