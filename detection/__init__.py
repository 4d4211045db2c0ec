"""Find and type leukocytes on images of stained blood smears: images, networks, training and figures.

Users, cases and pages are left to the web product, which may import `images` and `inference` but never `lab`.
"""

from pathlib import Path

BLOCK_UM = 300.0  # edge of the parts that a whole slide is read in: with its margins four tiles of the detector
FAR_APART = 1.4  # of two scales of one slide: one of them is wrong (domain.md, C13)


def newest_card(folder: Path, kind: str = "leukocyte") -> Path:
    """Return the card of a kind with the highest version, the number behind the last hyphen: 10 comes after 9.

    Parameters
    ----------
    folder : Path
        Where cards (JSON) and weights lie side by side; a newer version is two more files.
    kind : str
        What the names begin with.
    """
    return max(folder.glob(f"{kind}-*.json"), key=lambda card: int(card.stem.rpartition("-")[2]))


SHIPPED_CARD = newest_card(Path(__file__).parent / "weights")
FILM_CARD = newest_card(SHIPPED_CARD.parent, "platelet")  # red cells and platelets
SHIPPED = (SHIPPED_CARD.with_suffix(".pt"), SHIPPED_CARD)
