"""Evaluation: metrics over a data set with all answers, and comparisons of models.

- ``answering.evaluate`` lets a policy answer samples; ``predictions`` holds its answers.
- ``prediction_metrics`` turns predictions into metrics, ``bootstrap`` adds intervals, and
  ``evaluation_result`` holds both.
- ``model_evaluation.evaluate_model`` does the same for ``syngrpo evaluate``: it loads a model and
  writes to an ``evaluation_directory``, so that an interrupted evaluation can be continued.
- ``compare`` compares finished evaluations sample by sample, which ``evaluation_reading`` reads.
- ``run_evaluations`` keeps the answers of a training run in the same form.

A training run calls ``evaluate`` before, after and between its steps; the commands in ``cli`` call
``evaluate_model`` and ``compare``. Start reading at ``answering``.
"""
