"""The experiment on the rooms world: three tasks, twelve methods, several training seeds.

It measures whether evolving data keeps responses diverse, and whether this makes the model more
accurate. ``python -m experiments.rooms --help`` explains how to repeat it, and RESULTS.md has the
results. Start reading at ``matrix``.

1. ``settings`` holds the settings, and ``matrix`` makes the *cells* from them: one cell is a task,
   a method and a training seed, with the ``syngrpo`` command that trains it.
2. ``runner`` runs the cells. ``attempt`` starts and stops the process of one cell, and ``standing``
   computes how much of each cell is done.
3. When a cell is finished, ``collect`` writes what the report needs into a small JSON file, whose
   format is defined in ``result``. ``sheet`` draws some of the pictures that the run painted.
4. ``report`` writes RESULTS.md from these files. ``compare`` computes each number with its interval
   (``statistics``); ``claims``, ``tables`` and ``plots`` present the numbers.

``labels`` (with ``truth``), ``dependence`` and ``wear`` are further measurements on single runs.
The first two store their findings for the report (``finding``).
"""
