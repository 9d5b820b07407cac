"""The same training run with its processes on a Ray cluster, put there by Ray Train."""
