"""The scale that a file states: OME, ImageJ, Aperio and Micro-Manager descriptions, resolution tags, EXIF.

It returns micrometres per pixel or None; whether red cells agree with it is asked elsewhere.
"""

import html
import re
import unicodedata

import tifffile
from PIL import Image

from detection.images import UM_PER_PX_RANGE

UM_PER_UNIT = {
    "pm": 1e-6, "å": 1e-4, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "μm": 1.0, "um": 1.0, "micron": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3, "cm": 1e4,
    "centimeter": 1e4, "centimetre": 1e4, "dm": 1e5, "m": 1e6, "meter": 1e6, "metre": 1e6, "in": 25400.0,
    "inch": 25400.0, "inche": 25400.0, "thou": 25.4, "mil": 25.4, "pt": 25400 / 72,
}  # fmt: skip
NUMBER = r"[0-9]*[.,]?[0-9]+(?:e[+-]?[0-9]+)?"
UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 10000.0}
DEFAULT_UM_PER_PX = 1.0  # what writers put where they know nothing


def unit_of(text: str) -> float | None:
    """Return the micrometres of a unit as programs write it (µm, μm, um, microns, nm, \\u00B5m), else None."""
    plain = re.sub(r"\\u(00b5|03bc)", "μ", text.strip(), flags=re.IGNORECASE)
    plain = unicodedata.normalize("NFKC", plain).casefold()
    return UM_PER_UNIT.get(plain) or UM_PER_UNIT.get(plain.removesuffix("s"))


def plausible(um_per_px: float) -> float | None:
    """Return the scale where a microscope can have it and no writer's default is likelier."""
    low, high = UM_PER_PX_RANGE
    if not low <= um_per_px <= high:  # what is no number neither
        return None
    rounded = round(um_per_px, 5)
    return rounded if rounded != DEFAULT_UM_PER_PX else None


def of_both(x_um_per_px: float, y_um_per_px: float) -> float | None:
    """Return the scale of two directions, None where they disagree or no microscope has it (72 dpi)."""
    if not (x_um_per_px > 0 and y_um_per_px > 0) or abs(x_um_per_px / y_um_per_px - 1) > 0.05:
        return None
    return plausible(x_um_per_px)


def of_pillow(image: Image.Image) -> float | None:
    """Return the scale of a JPEG, PNG or BMP: its density, else its EXIF resolution."""
    x_dpi, y_dpi = (float(value) for value in image.info.get("dpi", (0, 0)))
    density = of_both(25400 / x_dpi, 25400 / y_dpi) if x_dpi > 0 and y_dpi > 0 else None
    exif = image.getexif()
    try:
        unit = UM_PER_RESOLUTION_UNIT.get(int(exif.get(296, 2)))
        x, y = float(exif.get(282, 0)), float(exif.get(283, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return density
    stated = of_both(unit / x, unit / y) if unit and x > 0 and y > 0 else None
    if density and stated and abs(density / stated - 1) > 0.05:
        return None
    return density or stated


def of_tiff(page: tifffile.TiffPage, description: str) -> float | None:
    """Return the scale of a TIFF page; `description` is that of the file's first page.

    The description comes first; a description without a unit does not cancel the resolution tags.
    """
    x_per_unit, y_per_unit = (_ratio(page.tags.get(tag)) for tag in (282, 283))
    if "<OME" in description or "<ome:" in description.casefold():
        stated = _of_ome(description)
        if stated is not None:
            return of_both(*stated)
    elif description.startswith("ImageJ="):
        units = {name: unit for name, _, unit in (line.partition("=") for line in description.splitlines()) if unit}
        um_per_unit = unit_of(units.get("unit", ""))
        if um_per_unit and x_per_unit > 0 and y_per_unit > 0:  # `yunit` is written where it is not that of x
            y_um_per_unit = (unit_of(units["yunit"]) or 0) if "yunit" in units else um_per_unit
            return of_both(um_per_unit / x_per_unit, y_um_per_unit / y_per_unit)
    elif mpp := re.search(rf"\bMPP\s*=\s*({NUMBER})", description, re.IGNORECASE):
        return plausible(_number(mpp[1]))
    words = f"{description} {page.tags[51123].value if 51123 in page.tags else ''}"
    if micro_manager := re.search(r"""["']PixelSize_?[uµμ]m["']\s*:\s*["']?([0-9.eE+-]+)""", words, re.IGNORECASE):
        try:
            return plausible(float(micro_manager[1]))
        except ValueError:
            return None
    unit_tag = page.tags.get(296)
    um_per_unit = UM_PER_RESOLUTION_UNIT.get(int(unit_tag.value) if unit_tag else 2)
    if um_per_unit and x_per_unit > 0 and y_per_unit > 0:
        return of_both(um_per_unit / x_per_unit, um_per_unit / y_per_unit)
    return None


def _of_ome(description: str) -> tuple[float, float] | None:
    """Return the physical size of the first image's pixels in um, or None where it is not stated."""
    first, *others = description.split("<!--")
    uncommented = first + "".join(part.partition("-->")[2] for part in others)
    # Each pattern looks at a character once, however the text is made: a word is begun only where it begins.
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^<>]*>", uncommented)
    named = re.findall(r"""\b(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""", pixels[0]) if pixels else []
    stated = {name: html.unescape(double or single) for name, double, single in named}
    if "PhysicalSizeX" not in stated:
        return None
    x_unit = stated.get("PhysicalSizeXUnit", "µm")
    y_unit = stated.get("PhysicalSizeYUnit", x_unit)
    try:
        x, y = (_number(stated.get(name, stated["PhysicalSizeX"])) for name in ("PhysicalSizeX", "PhysicalSizeY"))
    except ValueError:
        return None
    return x * (unit_of(x_unit) or 0), y * (unit_of(y_unit) or 0)


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _ratio(tag: tifffile.TiffTag | None) -> float:
    if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or not tag.value[1]:
        return 0.0
    return tag.value[0] / tag.value[1]
