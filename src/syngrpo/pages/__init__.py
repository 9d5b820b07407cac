"""Pages: they show results as HTML and in the terminal.

- ``run_report`` writes ``report.html`` of a run. It reads the run directory (``run_data``), picks
  the numbers shown first (``run_headlines``), lays out curves (``run_curves``, ``charts``), and
  reads pictures and descriptions from the pool (``pool_gallery``, ``description_words``) and
  answers from the kept responses (``response_gallery``).
- ``evaluation_page`` writes the page of ``syngrpo evaluate``, and ``evaluation_tables`` its tables
  for the terminal.
- ``labelled_picture`` draws a sample with its answers for both pages.
- ``page_templates`` renders the files in ``templates/``: one base page and one style for both.
- ``training_progress`` and ``run_summary`` print what ``syngrpo train`` shows in the terminal.

The commands in ``cli`` call all of this; no lower folder imports it. Start reading at
``run_report`` and ``templates/run_report.html``.
"""
