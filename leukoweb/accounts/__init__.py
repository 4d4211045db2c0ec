"""Laboratories, users and the one table of roles; knows nothing of cases."""
