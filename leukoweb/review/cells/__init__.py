"""Decisions of people on cells, and the lists of cells that pages show."""
