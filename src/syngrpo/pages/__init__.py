"""What a person looks at: the report of a run, the page of an evaluation, the terminal.

- ``run_report`` writes ``report.html`` of a run. It reads the run directory (``run_data``), picks
  the numbers shown first (``run_headlines``), lays out curves (``run_curves``, ``charts``), and
  reads pictures and descriptions from the pool (``pool_gallery``, ``description_words``).
- ``evaluation_page`` writes the page of ``syngrpo evaluate``.
- ``labelled_picture`` puts a sample with its answers into either page.
- ``page_templates`` renders the files in ``templates/``: one base page and one style for both.
- ``training_progress`` and ``run_summary`` are what ``syngrpo train`` prints.

The commands in ``cli`` drive all of this; nothing below imports it. Start with ``run_report`` and
``templates/run_report.html``.
"""
