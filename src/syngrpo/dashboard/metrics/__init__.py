"""The tabs Metrics and Compare: every curve, and the differences between runs."""
