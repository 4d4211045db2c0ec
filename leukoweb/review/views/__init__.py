"""Pages of review, one module a kind of page."""
