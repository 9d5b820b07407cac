"""The training of one run: from the options to the trained model.

``run.train`` is called by ``syngrpo train``, in every process of the run, and by every rank on a
Ray cluster (``on_ray``). It builds the parts and calls ``Trainer.step`` until the run is done.
Start reading at ``trainer``: its six steps are draw, roll out, score, submit, settle and update.

- ``run_options`` holds every option of a run, ``run_directory`` the paths of its files;
  ``size_check`` refuses samples that are too large before the first step.
- The trainer takes encoded prompts from ``prompt_cache`` and scores responses with ``groups``;
  ``distorted_rollout`` is for methods that show a distorted image to a part of each group.
- ``response_credit`` computes the advantages of the responses of a step, and ``update_rows`` the
  rows of an update. ``learner`` updates the policy from them: ``signal`` leaves out what teaches
  nothing, ``micro_batches`` splits the rest, ``row_scores`` computes log-probabilities, ``loss``
  and ``surrogates`` the loss, and ``optimizer`` takes the step.
- ``response_keeper`` hands the responses of each step to the writer of ``responses/``, ``trackers``
  sends metrics and pictures to TensorBoard and its like.
- ``processes`` exchanges data between the processes of a run, ``step_metrics`` combines their
  metrics, ``checkpoint`` saves and resumes. ``profiling`` writes a timeline of some steps.

Nothing here shows anything to the user: the caller hands in a ``run.Progress``.
"""
