"""The regions of a whole slide that a reader asks for, and what of it was read, as pages say it.

Reading them is left to `whole_slides`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils.translation import gettext, ngettext

from detection import BLOCK_UM
from leukoweb.analysis.models import ImageResult
from leukoweb.cases.models import SlideImage
from leukoweb.numbers import number
from leukoweb.refusals import Refused

MOST_REGIONS = 100
GUESSED_UM_PER_PX = 0.25  # where the scale is not known yet


def regions_asked(image: SlideImage | None, text: str) -> list[list[int]]:
    """Return image id and xyxy px of each region that lines of four numbers say; Refused holds a sentence."""
    image = require_whole_slide(image)
    regions, blocks = [], 0
    edge_px = BLOCK_UM / (image.um_per_px or GUESSED_UM_PER_PX)
    for line in filter(str.strip, text.splitlines()):
        numbers = re.fullmatch(r"\s*(\d{1,7})[\s,;]+(\d{1,7})[\s,;]+(\d{1,7})[\s,;]+(\d{1,7})\s*", line)
        x1, y1, x2, y2 = map(int, numbers.groups()) if numbers else (0, 0, 0, 0)
        x2, y2 = min(x2, image.width_px), min(y2, image.height_px)
        if x1 >= x2 or y1 >= y2:
            raise Refused(
                gettext(
                    "“%(line)s” is no region of this slide: write four whole numbers, left, top, right and bottom, in "
                    "pixels of the %(width)s × %(height)s slide."
                )
                % {"line": line.strip()[:60], "width": image.width_px, "height": image.height_px},
                "regions",
            )
        regions.append([image.pk, x1, y1, x2, y2])
        blocks += math.ceil((x2 - x1) / edge_px) * math.ceil((y2 - y1) / edge_px)
    if not regions:
        raise Refused(gettext("Draw at least one region or enter its four numbers."), "regions")
    if len(regions) > MOST_REGIONS or blocks > settings.SLIDE_BLOCKS:
        raise Refused(
            gettext(
                "The regions have %(blocks)s blocks of 0.3 × 0.3 mm and the limit is %(most)s in at most %(regions)s "
                "regions: draw smaller ones."
            )
            % {"blocks": number(blocks, ","), "most": settings.SLIDE_BLOCKS, "regions": MOST_REGIONS},
            "regions",
        )
    return regions


def require_whole_slide(image: SlideImage | None) -> SlideImage:
    """Return the image; refused where regions of it cannot be read."""
    if image is None or not image.is_whole_slide:
        raise Refused(
            gettext("Regions can be read only on a whole slide; this image is read completely."), code="wrong_state"
        )
    return image


def map_of(image: SlideImage, result: ImageResult | None, regions: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what programs are told of one whole slide: regions asked for, map, and what was read."""
    coverage = (result.coverage if result else None) or {}
    return {
        "image": image.pk,
        "regions": [list(region[1:]) for region in regions if region[0] == image.pk],
        "block_px": coverage.get("block_px"),
        "map": coverage.get("kinds", []),
        "read": coverage.get("read", []),
        "area_mm2": result.area_mm2 if result else None,
    }


def coverage_shown(result: ImageResult) -> dict[str, Any]:
    """Return what the page of a slide says of how much of a whole slide was read."""
    kinds, read = "".join(result.coverage["kinds"]), result.coverage["read"]
    usable = kinds.count("u")
    said = ngettext("%(count)s block was read", "%(count)s blocks were read", len(read)) % {"count": len(read)}
    return {
        "image": result.image,
        "drawn": result.coverage["drawn"],
        "read": len(read),
        "said": said,
        "area": number(result.area_mm2 or 0, ".2f"),
        "blocks": len(kinds),
        "sparse": kinds.count("s"),
        "dense": kinds.count("d"),
        "usable": usable,
        "is_limited": not result.coverage["drawn"] and usable > len(read),
        "most": settings.SLIDE_BLOCKS,
    }
