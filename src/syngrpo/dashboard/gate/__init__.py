"""The tab Gate: what was refused, and the scores beside their thresholds."""
