"""A training run whose processes (ranks) are on a Ray cluster, where Ray Train puts them.

``ray_launch.train_on_ray`` is ``syngrpo train --ray``: it starts the ranks, shows what rank 0
prints, and restarts all of them when one dies. ``ray_ranks.py`` is what runs on the cluster: each
rank, and the messages through which ranks and Ray Train's controller report to the command.
"""
