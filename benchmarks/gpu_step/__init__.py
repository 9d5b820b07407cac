"""Measures and calculates one training step of a real architecture on a GPU.

``python -m benchmarks.gpu_step`` runs it. ``shapes`` has the published architectures,
``checkpoint`` makes one with random weights, ``measure`` times our step and TRL's, ``work`` and
``memory`` calculate what a step has to compute, move and hold, and ``report`` puts both into
tables.
"""
