"""Comparisons beside the routine: reference counts, detector versions, the atlas and training sets."""
