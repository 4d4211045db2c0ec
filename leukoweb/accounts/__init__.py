"""Laboratories, users and the one table of roles."""
