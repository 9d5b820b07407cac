"""Metrics over a data set, with every answer they come from, and comparisons of models.

- ``answering.evaluate`` lets a policy answer samples; ``predictions`` is what it answered.
- ``prediction_metrics`` turns predictions into metrics, ``bootstrap`` adds intervals, and
  ``evaluation_result`` holds both.
- ``model_evaluation.evaluate_model`` does the same for ``syngrpo evaluate``: it loads a model and
  writes to an ``evaluation_directory``, in which an interrupted evaluation goes on.
- ``compare`` sets finished evaluations side by side, sample by sample.

A training run calls ``evaluate`` before, after and between its steps; the commands in ``cli`` call
``evaluate_model`` and ``compare``. Start with ``answering``.
"""
