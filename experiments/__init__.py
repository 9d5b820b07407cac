"""Experiments that anybody can repeat with one command."""
