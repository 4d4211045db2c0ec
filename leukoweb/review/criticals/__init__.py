"""Critical results: which values must be told at once, who saw them, who was told, and when they were closed."""
