"""Other programs that sample responses in place of our own rollout."""
