"""Says in a line what each metric of ``metrics.jsonl`` is, with its unit.

``workflow.step_metrics`` records them, and says there how the values of a step become one number.
"""

from __future__ import annotations

MEANINGS = {
    "loss": "What the update minimises.",
    "kl": "Distance from the reference policy, nats a token.",
    "clip_fraction": "Share of tokens whose importance ratio was clipped.",
    "truncated_fraction": "Share of tokens of settled descriptions whose ratio was cut.",
    "off_policy_fraction": "Share of tokens left out as too far off the policy.",
    "entropy_weight": "Weight of the entropy bonus; none without it.",
    "grad_norm": "Norm of the gradient before clipping.",
    "learning_rate": "Learning rate of the step.",
    "tokens_per_s": "Tokens of all responses a second.",
    "reward/accuracy": "Mean accuracy of the responses, 0 to 1.",
    "reward/accuracy_seed": "The same on seed images.",
    "reward/accuracy_synthetic": "The same on synthetic images.",
    "reward/format": "Share of well-formed responses.",
    "reward/unreadable": "Number of answers that cannot be read.",
    "reward/other_scale": "Number of answers with boxes on another scale than the model's.",
    "reward/outside": "Number of answers with boxes that reach out of the image.",
    "diversity/response": "D: 4·Var of accuracy in a group, 0 to 1.",
    "diversity/response_seed": "D on seed images.",
    "diversity/response_synthetic": "D on synthetic images.",
    "diversity/baseline": "b: the moving mean of D (credit parent: of D − D of the parent image).",
    "diversity/reward": "Mean ρ of the descriptions that were rewarded.",
    "diversity/zero_variance_groups": "Share of groups whose responses are all equally accurate.",
    "diversity/zero_variance_groups_seed": "The same on seed images.",
    "diversity/zero_variance_groups_synthetic": "The same on synthetic images.",
    "diversity/phantom_groups": "Share of groups all wrong that still get advantages.",
    "entropy/token": "Mean entropy of the response tokens, nats.",
    "entropy/token_seed": "The same on seed images.",
    "entropy/token_synthetic": "The same on synthetic images.",
    "description/words": "Mean number of words of a description.",
    "description/distinct": "Share of different words among all words submitted.",
    "description/too_long": "Number of descriptions refused as too long.",
    "description/repetitive": "Number of descriptions refused as repetitive.",
    "description/garbled": "Number of descriptions refused as no language.",
    "synthesis/submitted": "Number of descriptions submitted to be painted.",
    "synthesis/dropped": "Number of descriptions for which there was no room.",
    "synthesis/skipped": "Number of descriptions of images from which nothing can be painted.",
    "synthesis/admitted": "Number of painted images admitted by the gate.",
    "synthesis/rejected": "Number of painted images refused by the gate.",
    "synthesis/settled": "Number of descriptions that got their reward.",
    "synthesis/stale": "Number of descriptions too old for their reward.",
    "synthesis/unpaired": "Number of descriptions without a sibling to compare with.",
    "synthesis/dead": "Number of jobs given up after errors.",
    "pool/seed": "Seed images in the pool.",
    "pool/synthetic": "Synthetic images in the pool, retired ones too.",
    "pool/depth_mean": "Mean number of paintings between an image and its seed.",
    "time/step_s": "Seconds of the whole step.",
    "time/rollout_s": "Seconds of sampling the responses.",
    "time/update_s": "Seconds of the update.",
    "time/wait_data_s": "Seconds of waiting for data.",
    "rollout/logp_diff": "Mean difference of log-probabilities, sampling against training.",
    "rollout/kept_prompts": "Share of prompts that the update did not compute again.",
    "rollout/staleness": "Updates of the policy since the responses were sampled.",
    "rollout/length_mean": "Mean number of tokens of a response.",
    "rollout/cut_share": "Share of responses cut at rollout.max_new_tokens.",
    "responses/lost": "Number of responses that could not be written.",
}
"""By the name of the metric; those of one task have its name at the end."""


def meaning(name: str) -> str:
    """Return what a metric is, "" if it is not known: that of a custom reward, say."""
    if name in MEANINGS:
        return MEANINGS[name]
    whole, _, task = name.rpartition("/")
    return f"{MEANINGS[whole].rstrip('.')}; {task} only." if whole in MEANINGS else ""
