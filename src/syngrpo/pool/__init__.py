"""The evolving training set of a run: samples, their measurements, and the jobs that add samples.

A pool is a directory with one SQLite file (``pool.db``) and the image files beside it. Trainer,
workers and data server each open it with ``Pool.open`` (``store``); it is safe with any number of
processes on one machine.

In the order of a training step: ``Pool.draw`` chooses a batch (the rules and their options are in
``sampling``, the index in memory that makes a draw fast in ``draw_index``), ``Pool.observe``
records what the policy achieved on it, ``JobQueue.submit`` (``job_queue``) asks for new samples, a
worker leases the jobs and hands in results, and an admitted result becomes a sample that later
batches draw. ``mirror`` copies ended jobs from the pool of a shared data server.

``jobs`` and ``stored_samples`` hold the plain data of both and how it is stored in the tables of
``database``; ``image_store`` and ``filesystem`` deal with the disk. Start reading at ``store``.
"""
