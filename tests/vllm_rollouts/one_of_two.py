"""One of two processes of a run: compares vLLM's responses to its prompts with the native ones.

The processes have an engine each, or one server for both. The first writes the comparisons of both.
"""

import json
import sys
from pathlib import Path

import torch

from syngrpo.policy.encode import encode
from syngrpo.policy.loading import load_policy
from syngrpo.rollout import RolloutOptions
from syngrpo.rollout.base import Engine
from syngrpo.rollout.native import rollout
from syngrpo.rollout.server_engine import ServerEngine
from syngrpo.rollout.token_sampling import Sampling
from syngrpo.rollout.vllm_engine import VllmEngine
from syngrpo.tasks import get_task
from syngrpo.workflow.processes import Processes
from syngrpo_rooms.dataset import rooms_samples
from syngrpo_rooms.starter import STARTER_DIR


def main(target: Path, *server: str) -> None:
    processes = Processes()
    policy = load_policy(STARTER_DIR)
    part = [sample for _, sample in processes.part(rooms_samples("test", 3))]
    prompts = [encode(policy, s, get_task(s.task).prompt(s, "brief")) for s in part]
    seeds = list(range(len(prompts)))
    engine: Engine
    if server:
        url, token_file = server
        engine = ServerEngine(
            policy, RolloutOptions(server=url, server_token_file=Path(token_file))
        )
    else:
        engine = VllmEngine(policy, RolloutOptions(vllm_cache_gib=0.25))
    greedy = Sampling(0, max_new_tokens=32)
    same = []
    for _ in range(2):
        theirs = engine(policy, prompts, 2, greedy, seeds)
        ours = rollout(policy, prompts, 2, greedy, seeds)
        same += [
            torch.equal(a.token_ids, b.token_ids)
            for x, y in zip(theirs, ours, strict=True)
            for a, b in zip(x, y, strict=True)
        ]
        with torch.no_grad():
            policy.base.get_input_embeddings().weight.mul_(1.02)
    everywhere = processes.gather(same)
    if processes.is_main:
        target.write_text(json.dumps(everywhere))
    engine.close()
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
