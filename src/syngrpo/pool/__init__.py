"""The evolving training set of a run: its samples, their measurements, and jobs for new samples.

A pool is a directory with one SQLite file (``pool.db``) and the image files beside it. Trainer,
workers and data server each open it with ``Pool.open`` (``store``); it is safe with any number of
processes on one machine.

In the order of a training step:

1. ``Pool.draw`` chooses a batch. The rules and their options are in ``sampling``; ``draw_index``
   makes a draw fast.
2. ``Pool.observe`` records the diversity and accuracy of the responses to each sample.
3. ``JobQueue.submit`` (``job_queue``) asks for new samples. A worker leases the jobs and hands in
   results; an admitted result becomes a sample, which later batches may draw.

``mirror`` copies ended jobs from the pool of a shared data server. ``stored_samples`` and ``jobs``
hold the plain data and write it to the tables of ``database``; ``image_store`` and ``filesystem``
deal with the disk. Start reading at ``store``.
"""
