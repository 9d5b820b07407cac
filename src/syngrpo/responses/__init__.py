"""The responses of a run, kept in Parquet files: written while it trains, read by pages and users.

- ``response_options`` says which responses are kept, and how many gigabytes.
- ``response_rows`` holds the columns of the files; ``response_writer`` writes the files in a
  background thread; ``response_files`` names them, and removes what a resumed run does again.
- ``response_reading`` loads the responses of some steps, of a sample, or by a filter.
- ``drawn_answers`` draws the answers of a group over its picture, for trackers.

The trainer hands the responses of a step to the writer (``workflow/response_keeper.py``). Nothing
here needs torch, so that a page can read a run on a laptop.
"""
