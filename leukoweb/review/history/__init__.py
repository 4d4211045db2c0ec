"""What earlier specimens of a person said: their signed results over time."""
