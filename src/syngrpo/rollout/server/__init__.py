"""A rollout server: an engine in a process of its own, for trainers that send it their weights."""
