"""One training step of a real architecture on a GPU, measured and calculated."""
