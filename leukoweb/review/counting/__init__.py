"""Counts, percentages, flags and rules as pure functions, without Django."""
