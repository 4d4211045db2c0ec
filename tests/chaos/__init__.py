"""Real processes under random faults: `make chaos` says whether anything was lost or done twice."""
