"""Figures of detectors on labelled views, their calibration, cards and speed."""
