"""The tab Data and the page of ``syngrpo data view``: pictures with their labels."""
