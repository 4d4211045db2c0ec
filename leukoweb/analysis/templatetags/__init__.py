"""Template filters of the review room; they know no models."""
