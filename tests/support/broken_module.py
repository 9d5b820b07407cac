"""A module of a user's that fails when it is imported."""

raise ZeroDivisionError("no table\nhere")
