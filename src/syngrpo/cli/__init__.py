"""The command line: one module for each group of commands.

``main`` puts the commands together, runs one, and turns an ``InputError`` into one line on standard
error and exit status 2; start reading there. The other modules parse options, call the folders
below, and print; ``shared_options`` holds what several of them use.

Imports stand inside the functions here, so that nothing large (torch, transformers, NumPy) is
imported before a command needs it and ``syngrpo --help`` is quick. An installed package can add a
group of commands through the entry point group ``syngrpo.commands`` (``list_extensions``).
"""
