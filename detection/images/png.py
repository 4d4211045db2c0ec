"""PNG files inside the decoding child: how many pieces one may be made of, before any is read.

Sizes, colours and scale are left to decoding.py.
"""

import os
from pathlib import Path

from detection.images import ImageRefused

MOST_PIECES = 200_000  # of the picture; encoders write 8 KiB and more into each
MOST_NOTES = 10_000  # texts, times and the like
PICTURE = {b"IDAT", b"fdAT", b"fcTL"}  # also of the frames of an animated one


def refuse_pieces(path: str | Path) -> None:
    """Refuse a PNG that is made of more pieces than any encoder writes, or has its one profile several times.

    Raises
    ------
    ImageRefused
    """
    with open(path, "rb") as file:
        file.seek(8)
        pieces = notes = profiles = 0
        while (head := file.read(8)) and (kind := head[4:]) != b"IEND":
            pieces += kind in PICTURE
            notes += kind not in PICTURE
            profiles += kind == b"iCCP"
            if pieces > MOST_PIECES or notes > MOST_NOTES or profiles > 1:
                raise ImageRefused(
                    "The PNG is made of more pieces than a picture needs: save it again with another program and "
                    "upload that file."
                )
            file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
