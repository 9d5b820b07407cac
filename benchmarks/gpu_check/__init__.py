"""Checks the project on a machine with a GPU and without network, in some minutes.

``python -m benchmarks.gpu_check pack`` collects, where there is a network, the packages that the
machine lacks; ``run`` installs them there and runs the parts one after the other; ``report`` puts
the results into RESULTS.md. ``schedule`` needs nothing but Python itself. ``part``
runs one part in a process of its own; ``correctness`` and ``parts`` say what each part measures.
"""
