"""Find and type leukocytes on images of stained blood smears.

This package knows images, networks and figures; it knows nothing of Django, users or cases.
"""

from pathlib import Path

# The shipped detector is the last by name: a newer version is two more files in the folder.
SHIPPED_CARD = sorted((Path(__file__).parent / "weights").glob("*.json"))[-1]
SHIPPED = (SHIPPED_CARD.with_suffix(".pt"), SHIPPED_CARD)
