"""Phrases that the laboratory's rules propose for the interpretation, and what a person did with each."""
