"""A script of a user's that runs when it is imported."""

import sys

sys.exit(3)
