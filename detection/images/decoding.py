"""The child process of `images.py`: it limits itself, decodes file after file and prints one JSON line for each.
It knows formats and pixels; it knows no cells, cases or networks and is never imported by a long-lived process.
"""

import ctypes
import json
import math
import os
import re
import resource
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from detection.images import TILE_PX, ImageFacts, ImageRefused, Limits

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
STRIP_ROWS = 512
LEAST_SHARE_OF_ROWS = 0.75
PLAUSIBLE_UM_PER_PX = (0.02, 2.0)
SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
OTHER_SIGNATURES = (
    (0, b"%PDF", "a PDF document"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"PK\x03\x04", "a ZIP archive or office document"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftyp", "a HEIC picture or a video"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<", "a web page or XML text"),
)
DAMAGED = (
    "The {} file is damaged or incomplete and cannot be read: "
    "copy it again from the microscope and upload it once more."
)
SAVE_AS_8_BIT = "save it as 8-bit RGB and upload that file."


def main(arguments):
    """Run `check LIMITS FILE...` or `unpack LIMITS FILE FOLDER`; print one JSON line for each file."""
    command, limits, *paths = arguments
    limits = Limits(**json.loads(limits))
    jobs = [(path, None) for path in paths] if command == "check" else [(paths[0], Path(paths[1]))]
    _limit_this_process(limits, writes=command == "unpack")
    for path, folder in jobs:
        used_s = math.ceil(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used_s + limits.cpu_s, resource.RLIM_INFINITY))
        try:
            answer = asdict(decode(path, limits, folder))
        except ImageRefused as refusal:
            answer = {"refused": str(refusal)}
        print(json.dumps(answer), flush=True)


def _limit_this_process(limits, *, writes):
    # No network where the kernel allows it. Only root may leave the network without a user namespace, and only a plain
    # user keeps the right to his own files in one.
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    ctypes.CDLL(None).unshare(flags)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    largest_file = 3 * limits.max_pixels + 4096 if writes else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode(path, limits, folder=None):
    """Read every pixel of a file and return its facts; with a folder also write `pixels.npy` and `pyramid/`."""
    with open(path, "rb") as file:
        start = file.read(256)
    found = next((name for signature, name in SIGNATURES if start.startswith(signature)), None)
    if found is None:
        kind = next(
            (name for at, magic, name in OTHER_SIGNATURES if start[at:].startswith(magic)), "not a picture we know"
        )
        raise ImageRefused(f"The file is {kind}: upload a JPEG, PNG, BMP or TIFF image.")
    try:
        read = _read_tiff if found == "TIFF" else _read_with_pillow
        facts, pixels = read(path, found, limits, folder)
        if folder is not None:
            write_pyramid(pixels, folder / "pyramid")
    except MemoryError as error:
        raise ImageRefused(
            "The image needs more memory than is allowed: upload a smaller part of the slide."
        ) from error
    except ImageRefused:
        raise
    except Exception as error:  # a decoder meeting hostile bytes may raise anything; the reader gets one sentence
        raise ImageRefused(DAMAGED.format(found)) from error
    return facts


def _refuse_by_pixels(width_px, height_px, limits):
    if width_px * height_px > limits.max_pixels or max(width_px, height_px) > limits.max_edge_px:
        raise ImageRefused(
            f"The image has {width_px} x {height_px} px; the limit is {limits.max_pixels / 1e6:.0f} megapixels and "
            f"{limits.max_edge_px} px an edge: upload a smaller part of the slide."
        )
    if min(width_px, height_px) < 1:
        raise ValueError("no pixels")
    if min(width_px, height_px) < limits.min_edge_px:
        raise ImageRefused(
            f"The image has {width_px} x {height_px} px, too small for a smear field: upload one of at least "
            f"{limits.min_edge_px} px an edge."
        )


def _new_pixels(folder, height_px, width_px):
    if folder is None:
        return None
    import numpy as np

    return np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(height_px, width_px, 3))


def _plausible(um_per_px):
    low, high = PLAUSIBLE_UM_PER_PX
    return round(um_per_px, 5) if low <= um_per_px <= high else None


def _um_per_px_of_resolution(x_per_um, y_per_um):
    """Return um per px of two resolutions in px per um, None where they disagree or are no microscope's (72 dpi)."""
    if not (x_per_um > 0 and y_per_um > 0) or abs(x_per_um / y_per_um - 1) > 0.05:
        return None
    return _plausible(1 / x_per_um)


# JPEG, PNG, BMP --------------------------------------------------------------------------------------


def _read_with_pillow(path, found, limits, folder):
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        image = Image.open(path, formats=[found])
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageRefused(
            f"The image has more than {limits.max_pixels / 1e6:.0f} megapixels: upload a smaller part of the slide."
        ) from error
    width_px, height_px = image.size
    _refuse_by_pixels(width_px, height_px, limits)
    _refuse_by_depth(path, found, image.mode)
    dpi = image.info.get("dpi", (0, 0))
    um_per_px = _um_per_px_of_resolution(float(dpi[0]) / 25400, float(dpi[1]) / 25400)
    warning = ""
    if found == "JPEG" and folder is None:
        # Every byte is still read and checked, at an eighth of the size: a tenth of the time and 1/64 of the memory.
        image.draft(image.mode, (max(1, width_px // 8), max(1, height_px // 8)))
    try:
        image.load()
    except OSError:
        if found != "JPEG":
            raise
        image, share = _read_cut_jpeg(path, width_px, height_px, small=folder is None)
        missing = f"the lowest {100 * (1 - share):.0f} % of the picture is missing and left white"
        warning = f"The JPEG ends early: {missing if share < 0.995 else 'hardly anything of the picture is missing'}."
    pixels = _new_pixels(folder, height_px, width_px)
    for y in range(0, height_px if folder else 0, STRIP_ROWS):
        strip = image.crop((0, y, width_px, min(y + STRIP_ROWS, height_px)))
        pixels[y : y + STRIP_ROWS] = _over_white(strip)
    if warning and folder:
        pixels[_rows_before_grey(pixels) :] = 255
    return ImageFacts(found, width_px, height_px, um_per_px, warning), pixels


def _refuse_by_depth(path, found, mode):
    depth_16 = mode.startswith(("I", "F"))
    if found == "PNG":
        with open(path, "rb") as file:
            depth_16 |= file.read(25)[24] == 16  # Pillow reduces 16-bit RGB silently
    if depth_16:
        raise ImageRefused(f"The {found} has 16 bits a channel: {SAVE_AS_8_BIT}")
    if mode == "1":
        raise ImageRefused(f"The {found} is black and white without shades: {SAVE_AS_8_BIT}")
    if mode not in ("RGB", "RGBA", "L", "LA", "P", "PA"):
        raise ImageRefused(f"The {found} has {mode} colours as for printing: {SAVE_AS_8_BIT}")


def _read_cut_jpeg(path, width_px, height_px, *, small):
    """Read what is there of a JPEG that ends early; return it and the share of its rows that are there."""
    import numpy as np
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image = Image.open(path, formats=["JPEG"])
        if image.info.get("progressive") and not _in_last_scans(path):
            raise ImageRefused(DAMAGED.format("JPEG"))
        image.draft(image.mode, (max(1, width_px // 8), max(1, height_px // 8)))
        image.load()
        rows = np.asarray(image)
        share = _rows_before_grey(rows) / len(rows)
        if share < LEAST_SHARE_OF_ROWS:
            raise ImageRefused(DAMAGED.format("JPEG"))
        if not small:
            image = Image.open(path, formats=["JPEG"])
            image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    return image, share


def _rows_before_grey(rows):
    """Return the number of rows before the mid-grey that libjpeg leaves where blocks are missing."""
    end = len(rows)
    while end and (rows[end - 1] == 128).all():
        end -= 1
    return end


def _in_last_scans(path):
    """Tell whether a progressive JPEG reaches a scan that brings the last bit of the fine detail."""
    content = Path(path).read_bytes()
    at = content.rfind(b"\xff\xda")
    header = content[at + 2 : at + 4 + content[at + 4] * 2 + 4]
    first_coefficient, precision = header[-3], header[-1] & 15
    return first_coefficient > 0 and precision == 0


def _over_white(image):
    import numpy as np
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return np.asarray(image.convert("RGB"))


# TIFF ------------------------------------------------------------------------------------------------


def _read_tiff(path, found, limits, folder):
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        width_px, height_px = page.imagewidth, page.imagelength
        _refuse_by_pixels(width_px, height_px, limits)
        _refuse_tiff_kind(page)
        size = os.stat(path).st_size
        if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts)):
            raise ImageRefused(DAMAGED.format("TIFF"))
        facts = ImageFacts("TIFF", width_px, height_px, _um_per_px_of_tiff(path, page), _tiff_warning(file))
        pixels = _new_pixels(folder, height_px, width_px)
        for segment, index, shape in page.segments(maxworkers=1):
            if segment is None:
                raise ImageRefused(DAMAGED.format("TIFF"))
            if pixels is None:
                continue
            plane, _, y, x, _ = index
            rows, columns = min(shape[1], height_px - y), min(shape[2], width_px - x)
            block = segment[0, :rows, :columns]
            if page.planarconfig == 2 and page.samplesperpixel > 1:  # one plane for each colour
                if plane < 3:
                    pixels[y : y + rows, x : x + columns, plane] = block[..., 0]
            else:
                pixels[y : y + rows, x : x + columns] = _rgb_of_tiff(block, page)
    return facts, pixels


def _refuse_tiff_kind(page):
    if page.bitspersample == 1:
        raise ImageRefused(f"The TIFF is black and white without shades: {SAVE_AS_8_BIT}")
    if not 0 < page.bitspersample <= 64:
        raise ImageRefused(DAMAGED.format("TIFF"))
    if page.bitspersample != 8 or page.sampleformat != 1:
        raise ImageRefused(f"The TIFF has {page.bitspersample} bits a channel: {SAVE_AS_8_BIT}")
    photometric = int(page.photometric)
    subsampled_without_jpeg = photometric == 6 and int(page.compression) != 7
    if photometric not in (0, 1, 2, 3, 6) or subsampled_without_jpeg:
        raise ImageRefused(f"The TIFF has colours of a kind that is not read here: {SAVE_AS_8_BIT}")
    if page.imagedepth != 1 or (photometric in (2, 6) and page.samplesperpixel < 3):
        raise ImageRefused(f"The TIFF is not a flat colour picture: {SAVE_AS_8_BIT}")


def _tiff_warning(file):
    try:
        file.pages[1]
    except IndexError:
        return ""
    return "" if file.pages[0].is_tiled else "The TIFF has several pages; only the first is read."


def _rgb_of_tiff(block, page):
    """Return a decoded (rows, columns, samples) block as RGB over white."""
    import numpy as np

    photometric = int(page.photometric)
    if photometric == 3:
        colours = np.asarray(page.colormap).T  # (256, 3), 16 bits as the format wants, 8 bits as some writers do
        return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)[block[..., 0]]
    colour_samples = 1 if photometric in (0, 1) else 3
    rgb = np.repeat(block[..., :1], 3, axis=2) if colour_samples == 1 else block[..., :3]
    rgb = 255 - rgb if photometric == 0 else rgb
    kinds = [int(kind) for kind in page.extrasamples]
    if not kinds or kinds[0] == 0:
        return rgb
    alpha = block[..., colour_samples : colour_samples + 1].astype(np.uint16)
    painted = rgb if kinds[0] == 1 else (rgb * alpha + 127) // 255  # kind 1 was multiplied with its alpha when written
    return np.minimum(painted + (255 - alpha), 255).astype(np.uint8)


def _um_per_px_of_tiff(path, page):
    """Return the scale of OME, ImageJ, a slide scanner or the resolution tags, where plausible, else None."""
    description = page.description or ""
    ome = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', description)
    if ome and (
        "PhysicalSizeXUnit" not in description or re.search(r'PhysicalSizeXUnit="(µm|&#181;m|um)"', description)
    ):
        return _plausible(float(ome[1]))
    x_per_unit, y_per_unit = (_ratio(page.tags.get(tag)) for tag in (282, 283))
    if description.startswith("ImageJ="):
        microns = re.search(r"^unit=(micron|um|µm|\\u00B5m)s?\s*$", description, re.MULTILINE)
        return _um_per_px_of_resolution(x_per_unit, y_per_unit) if microns else None
    if page.is_tiled and (mpp := _mpp_of_scanner(path)):
        return _plausible(mpp)
    unit = page.tags.get(296)
    um_per_unit = {2: 25400, 3: 10000}.get(int(unit.value) if unit else 2)
    return _um_per_px_of_resolution(x_per_unit / um_per_unit, y_per_unit / um_per_unit) if um_per_unit else None


def _ratio(tag):
    if tag is None or len(tag.value) != 2 or not tag.value[1]:
        return 0.0
    return tag.value[0] / tag.value[1]


def _mpp_of_scanner(path):
    import openslide

    try:
        with openslide.OpenSlide(path) as slide:
            return float(slide.properties.get("openslide.mpp-x", 0))
    except (openslide.OpenSlideError, ValueError):
        return None


# Viewer tiles ----------------------------------------------------------------------------------------


def write_pyramid(pixels, folder):
    """Write Deep Zoom levels as JPEG tiles; `pixels` is (H, W, 3) uint8, level 0 is one pixel."""
    import numpy as np
    from PIL import Image

    level = (max(pixels.shape[:2]) - 1).bit_length()
    while level >= 0:
        (folder / str(level)).mkdir(parents=True)
        height_px, width_px = pixels.shape[:2]
        half = np.empty(((height_px + 1) // 2, (width_px + 1) // 2, 3), np.uint8)
        for row, y in enumerate(range(0, height_px, TILE_PX)):
            strip = Image.fromarray(pixels[y : y + TILE_PX])
            for column, x in enumerate(range(0, width_px, TILE_PX)):
                tile = strip.crop((x, 0, min(x + TILE_PX, width_px), strip.height))
                tile.save(folder / str(level) / f"{column}_{row}.jpg", quality=90)
            half[y // 2 : (y + TILE_PX) // 2] = strip.reduce(2)
        pixels, level = half, level - 1


if __name__ == "__main__":
    main(sys.argv[1:])
