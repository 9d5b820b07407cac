"""The data server: descriptions come in as jobs, and painted samples come back into the pool.

A trainer talks to a ``DataClient`` (``client``; start reading there). Inline it paints by itself;
``async_client`` writes to a spill file (``spill``) that a thread passes on. Workers lease jobs,
paint them and hand in the results (``worker_process``); ``workers`` starts and replaces them,
``ray_workers`` does so on a Ray cluster (``ray_cluster``). What trainer and worker see of the job
queue is described in ``job_exchange``. There are two ways between them:

1. beside the run: both use the pool in the run directory (``pool_jobs``);
2. over HTTP (``syngrpo serve``): ``server_sink`` sends a run's jobs to the server and fetches the
   samples, ``remote_jobs`` leases jobs there; both use ``data_connection`` and ``sample_wire``.

The server is put together in ``serve_data``: ``request_checks`` looks at every request, ``routes``
answers it with data as in ``api_schemas``, ``server_runs`` has a pool for each run, and
``service_metrics`` counts. ``options`` holds what the user can set.
"""
