"""Does the data evolve, and does the model get better for it? Measured on the rooms world.

``python -m experiments.rooms --help`` says how to repeat it, RESULTS.md what came out.
"""
