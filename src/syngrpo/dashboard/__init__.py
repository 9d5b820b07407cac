"""The live dashboard: pages in the browser about runs, also while they go on. It only reads.

``server`` starts it and ``pages`` registers one page for each tab. A tab is a folder with a module
``*_tab``: it is given a ``View``, and shows what the other modules of its folder read from the run
directory. ``reading`` and ``parts`` hold what several tabs use. ``access`` lets nobody in without
the token, and ``pictures`` sends the images. ``data_page`` is the page of ``syngrpo data view``,
which shows data files in the way in which the tab Data shows a pool.
"""
