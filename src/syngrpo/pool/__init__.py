"""The evolving training set: store, sampling policy, job queue, lineage."""
