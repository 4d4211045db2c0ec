"""Find and type leukocytes on images of stained blood smears.

This package knows images, networks and figures; it knows nothing of Django, users or cases.
"""

from pathlib import Path


def newest_card(folder: Path) -> Path:
    """Return the card with the highest version, the number behind the last hyphen: 10 comes after 9.

    Parameters
    ----------
    folder : Path
        Where cards (JSON) and weights lie side by side; a newer version is two more files.
    """
    return max(folder.glob("*.json"), key=lambda card: int(card.stem.rpartition("-")[2]))


SHIPPED_CARD = newest_card(Path(__file__).parent / "weights")
SHIPPED = (SHIPPED_CARD.with_suffix(".pt"), SHIPPED_CARD)
