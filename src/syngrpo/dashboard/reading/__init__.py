"""Reads runs while they go on, and what else several tabs show: evaluation sets, gate limits."""
