"""The programming interface under /api/v1/: the same doors and services as the pages; nothing imports it."""
