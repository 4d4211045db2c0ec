"""Read a whole slide for a run: its map of blocks, those that are read, and what is kept of them.

The worker calls it with the overview at hand; a child process has the file, and one block is in memory at a time.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings

from detection.images import Limits
from detection.images.slides import Regions, fine_enough, slide_file
from leukoweb.analysis.coverage import Coverage
from leukoweb.analysis.crops import keep_crops
from leukoweb.cases.copies import local_original, unpacked_slide
from leukoweb.cases.models import SlideImage

if TYPE_CHECKING:  # the web process never loads a network
    from detection.inference.detector import Detector, FoundCell
    from detection.inference.monolayer import BlockMap
    from detection.inference.reading import FieldReading

REGION_S = 60
SPOTS, SPOT_PX = 9, 1200  # looked at for red cells where nothing says the scale
SCALE_BLOCKS = 5  # the best ones, in which red cells are measured against the stated scale
DARKER = 4  # grey levels of a spot against the brightest: something is there
KINDS = "sdu"  # sparse, dense, usable: the letters of `ImageResult.coverage`

Note = Callable[[int, int], None]


class WholeSlide:
    """One whole slide of a run, open as long as the run reads; use it in a `with`."""

    def __init__(self, image: SlideImage, overview: np.ndarray) -> None:
        self.image, self.overview = image, overview
        self.size_px = image.width_px, image.height_px
        path = slide_file(local_original(image.sha256), unpacked_slide(image.sha256))
        self.regions = Regions(path, limits=Limits(wall_s=REGION_S))
        self._maps: dict[float, BlockMap] = {}

    def __enter__(self) -> "WholeSlide":
        return self

    def __exit__(self, *_: object) -> None:
        self.regions.close()

    def um_per_px_from_red_cells(self, note: Note) -> float | None:
        """Measure the scale in the best blocks; where nothing states a scale, in spots over the slide."""
        from detection.inference.scale import um_per_px_from_red_cells

        if self.image.um_per_px:
            found = self._map(self.image.um_per_px, note)
            places = [found.box(*block) for block in found.best(SCALE_BLOCKS)]
        else:
            places = self._spots()
        measured = [own for place in places if (own := um_per_px_from_red_cells(self._read(place))) is not None]
        return round(median(measured), 4) if measured else None

    def read(
        self, detector: "Detector", um_per_px: float, regions: Sequence[Sequence[int]], note: Note
    ) -> tuple["FieldReading", Coverage]:
        """Read the monolayer, or the regions that a reader drew."""
        from detection.inference.blocks import cut_into_blocks, read_blocks

        found = self._map(um_per_px, note)
        if regions:
            drawn = [(int(x1), int(y1), int(x2), int(y2)) for x1, y1, x2, y2 in regions]
            blocks = cut_into_blocks(drawn, self.size_px, found.block_px)
        else:
            blocks = [found.box(*block) for block in found.best(settings.SLIDE_BLOCKS)]
        times = fine_enough(um_per_px, detector.card.um_per_px)

        def keep(pixels: np.ndarray, shown: tuple[int, int, int, int], cells: Sequence["FoundCell"]) -> None:
            if times == 1:
                keep_crops(self.image, [cell.xyxy for cell in cells], um_per_px, pixels, shown[:2])

        reading = read_blocks(
            blocks,
            self.size_px,
            um_per_px,
            times,
            lambda *box: self._read(box, times),
            detector,
            on_progress=note,
            on_cells=keep,
        )
        coverage: Coverage = {
            "block_px": found.block_px,
            "kinds": ["".join(KINDS[kind] for kind in row) for row in found.kinds],
            "read": [list(block) for block in blocks],
            "drawn": bool(regions),
        }
        return reading, coverage

    def _map(self, um_per_px: float, note: Note) -> "BlockMap":
        from detection.inference.monolayer import LOOK_UM_PER_PX, map_blocks

        if um_per_px not in self._maps:
            times = fine_enough(um_per_px, LOOK_UM_PER_PX)
            self._maps[um_per_px] = map_blocks(
                self.overview,
                self.size_px,
                um_per_px,
                lambda *box: self._read(box, times),
                # Looking is a small part of the work: no share of the progress, only the sign that the run is ours.
                on_progress=lambda done, total: note(0, settings.SLIDE_BLOCKS),
            )
        return self._maps[um_per_px]

    def _read(self, box: tuple[int, ...], times: int = 1) -> np.ndarray:
        x1, y1, x2, y2 = box
        return self.regions.read(x1, y1, max(1, (x2 - x1) // times), max(1, (y2 - y1) // times), times)

    def _spots(self) -> list[tuple[int, int, int, int]]:
        """Return boxes of spots that are neither the emptiest nor the darkest of the slide, spread over it."""
        times = max(1, round(max(self.size_px) / max(self.overview.shape[:2])))
        edge = max(4, SPOT_PX // times)
        spots = [
            (float(np.mean(self.overview[y : y + edge, x : x + edge, 1])), x, y)
            for y in range(0, self.overview.shape[0] - edge + 1, edge)
            for x in range(0, self.overview.shape[1] - edge + 1, edge)
        ]
        brightest = max((brightness for brightness, *_ in spots), default=0)
        shown = sorted(spot for spot in spots if spot[0] < brightest - DARKER)
        middle = shown[len(shown) // 4 :]
        chosen = [middle[i] for i in np.linspace(0, len(middle) - 1, min(SPOTS, len(middle))).astype(int)]
        return [(x * times, y * times, x * times + SPOT_PX, y * times + SPOT_PX) for _, x, y in chosen]
