"""The live dashboard: pages in the browser about runs, also while they go on. It only reads.

``serve_dashboard`` starts the server and ``pages`` registers one page for each tab. A tab is a
module ``*_tab``; it shows what ``FollowedRun`` reads from the run directory. ``access`` lets nobody
in without the token, and ``pictures`` sends the images. ``data_page`` is the page of
``syngrpo data view``, which shows data files in the way in which the tab Data shows a pool.
"""
