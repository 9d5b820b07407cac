"""The data server: it takes descriptions as jobs, and returns painted samples to the pool.

A trainer uses a ``DataClient`` (``client``; start reading there). It draws samples
(``drawn_sample``), takes what was measured on them (``group_reports``), and keeps descriptions
until their reward is known (``description_rewards``). Below it a ``PoolClient`` (``pool_client``)
has access to the pool; ``pool_access`` chooses one. The inline one paints within the training step.
``async_client`` writes jobs to a spill file (``spill``), from which a thread passes them on.
Workers lease jobs, paint them and hand in the results (``worker_process``); ``workers`` starts and
replaces them, ``ray_workers`` does so on a Ray cluster (``ray_cluster``).
``job_exchange`` defines how trainers and workers use the queue of jobs. There are two ways:

1. On one host without a server, both use the pool in the run directory (``pool_jobs``).
2. With ``syngrpo serve``, over HTTP: ``server_sink`` sends a run's jobs to the server and fetches
   samples, ``remote_jobs`` leases jobs there. Both use ``data_connection`` and ``sample_wire``.

``serve_data`` builds the server: ``request_checks`` checks every request, ``routes`` answers it
with data as in ``api_schemas``, ``server_runs`` holds a pool for each run, and ``service_metrics``
counts. ``synthesis_options`` declares the options.
"""
