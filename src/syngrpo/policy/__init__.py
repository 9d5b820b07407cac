"""The model: families, loading, rollouts and log-probabilities that share a group's prompt."""
