"""Find and type leukocytes on images of stained blood smears.

This package knows images, networks and figures; it knows nothing of Django, users or cases.
"""
