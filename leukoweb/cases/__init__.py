"""Patients, cases, slides and stored images."""
