"""What the pixels of a picture say about the file: whether it has colour, and whether a part of it was lost.

It sees blocks of pixels in any order; formats and sentences for other faults are left to the decoders.
"""

import numpy as np

COLOUR_STEP = 12  # grey levels between the channels of one pixel; JPEG alone makes up to 8 of grey pixels
LEAST_COLOURED = 0.0005
LEAST_CONTRAST = 30  # grey levels; a uniform picture is not called grey
LOST_RUN_PX = 683  # 2,048 bytes of RGB, half a cluster of the smallest file systems in use


class Survey:
    """Count coloured pixels and long runs of exact zeros over the blocks of one picture."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self.height_px, self.width_px = height_px, width_px
        self.seen = self.coloured = self.lost = 0
        self.low, self.high = 255, 0
        self.black_corners = 0

    def add(self, block: np.ndarray, y: int, x: int, *, whole: bool = True, from_below: bool = False) -> None:
        """Look at a block of uint8 (rows, columns, 3) RGB whose first pixel is at (y, x).

        `whole=False` says that the block was read at a reduced size: runs of zeros mean nothing there. `from_below`
        says that the file holds the lowest row first: a lost piece runs that way.
        """
        some = block[::3, ::3]
        high, low = some.max(axis=2), some.min(axis=2)
        self.seen += high.size
        self.coloured += int((high - low > COLOUR_STEP).sum())
        self.low, self.high = min(self.low, int(low.min())), max(self.high, int(high.max()))
        if not whole:
            return
        filled = np.flatnonzero((block[::-1] if from_below else block).any(axis=2).ravel())
        runs = np.diff(np.concatenate(([-1], filled, [block.shape[0] * block.shape[1]]))) - 1
        self.lost += int(runs[runs >= LOST_RUN_PX].sum())
        rows, columns = block.shape[:2]
        for at_y, in_y in ((0, 0), (self.height_px - 1, rows - 1)):
            for at_x, in_x in ((0, 0), (self.width_px - 1, columns - 1)):
                if y + in_y == at_y and x + in_x == at_x:
                    self.black_corners += not block[in_y, in_x].any()

    @property
    def is_grey(self) -> bool:
        """Tell whether the picture shows something, and all of it in shades of grey."""
        return self.high - self.low >= LEAST_CONTRAST and self.coloured < LEAST_COLOURED * self.seen

    @property
    def warning(self) -> str:
        """Say how much of the picture is missing, or ''; a black surround (all four corners) is not taken for it."""
        share = self.lost / (self.height_px * self.width_px)
        if not self.lost or self.black_corners == 4 or share == 1:
            return ""
        part = f"{100 * share:.0f} %" if share >= 0.005 else "A part"
        return (
            f"{part} of the picture is exactly black (0), as where a piece of a file was lost: "
            "copy it again from the microscope if the field is not black there."
        )
