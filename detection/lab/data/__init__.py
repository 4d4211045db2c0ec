"""Labelled views of smears: reading foreign layouts, checking, splitting and deriving boxes."""
