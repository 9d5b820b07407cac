"""Other trainers: their hooks on top of ``data_server.client`` and ``method``.

Each module needs the trainer that it is for, which syngrpo does not install. Nothing of syngrpo
imports them; ``docs/trainers.md`` says how to use them.

``trl_data`` gives TRL's ``GRPOTrainer`` a dataset that evolves and rewards. ``trl_trainer`` is a
subclass of it that also rewards descriptions. ``slime_source`` is a data source and hooks for
slime, ``verl_images`` a dataset and hooks for verl, ``verifiers_taskset`` a taskset for verifiers
and prime-rl, ``swift_plugin`` a plug-in for ms-swift. Those built on accelerate share
``shared_images``.
"""
