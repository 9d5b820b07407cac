"""The command line: one module for each group of commands.

The modules are thin: they parse options, call the folders below, and print; ``main`` puts the
commands together. Nothing heavy (torch, transformers, NumPy) is imported before a command runs, so
that ``syngrpo --help`` is quick; that is why imports stand inside the functions here. ``main``
turns an ``InputError`` into one line on standard error and exit status 2. Installed packages add
groups of commands of their own through the entry point group ``syngrpo.commands``
(``list_extensions``).
"""
