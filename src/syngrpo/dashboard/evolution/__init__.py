"""The tab Evolution: the family of a seed, and the words of its descriptions."""
