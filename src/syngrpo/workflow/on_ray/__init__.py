"""Training runs whose processes (*ranks*) run on a Ray cluster (``syngrpo train --ray``).

``ray_launch.train_on_ray`` runs in the process of the command; start reading there. It lets Ray
Train start the ranks, prints what rank 0 prints, and passes signals on. Ray Train restarts all
ranks when one dies. ``ray_ranks`` runs on the cluster: it holds the ranks, which call
``workflow.run.train``, and the messages that ranks and Ray Train's controller send to the command.
"""
