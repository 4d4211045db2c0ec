"""Patients, cases, slides and stored images; knows nothing of what a detector said."""
