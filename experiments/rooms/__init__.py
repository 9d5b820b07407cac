"""The experiment on the rooms world: three tasks, seven methods, several training seeds.

It measures whether evolving data keeps responses diverse, and whether the model gets better by it.
``python -m experiments.rooms --help`` says how to repeat it; RESULTS.md holds what came out.

``settings`` says what the experiment is, ``matrix`` makes its cells (a task, a method, a training
seed) and their commands. ``runner`` runs them (``attempt``: one process; ``standing``: how far each
cell is) and turns a finished run into a small JSON file (``collect``, ``result``). ``report``
writes RESULTS.md from these files: ``claims`` and ``tables`` ask ``compare``, which computes every
number with its interval (``statistics``), and ``plots`` draws. ``labels``, ``dependence`` and
``wear`` look closer at single runs. Start reading at ``matrix``.
"""
