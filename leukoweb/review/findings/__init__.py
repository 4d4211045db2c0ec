"""Findings of red cells, white cells, platelets and parasites that a person sees on the film."""
