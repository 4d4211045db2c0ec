"""Small files that cost much to read: each is refused in a sentence before it is decoded, or read within a bound."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from detection.images import ImageFacts, Limits, check_images
from tests.test_odd_files import noise, scans, smear, tiff

LIMITS = Limits(max_bytes=1 << 26, max_edge_px=1 << 20, cpu_s=10)


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(more):
    """A PNG with more pieces behind its head."""
    out = io.BytesIO()
    Image.fromarray(smear()).save(out, "PNG")
    return out.getvalue()[:33] + more + out.getvalue()[33:]


def wide_jpeg_of_scans(count):
    """A progressive JPEG that says it has 196 megapixels."""
    content = bytearray(scans(count)[1])
    at = content.index(b"\xff\xc2")
    content[at + 5 : at + 9] = struct.pack(">HH", 14_000, 14_000)
    return bytes(content)


def bmp_in_runs():
    palette, rows = bytes([200, 100, 220, 0] * 256), b"\xff\x05" * 400 + b"\0\1"
    sizes = struct.pack("<IiiHHIIiiII", 40, 14_000, 14_000, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(rows), 0, 0, 54 + 1024) + sizes + palette + rows


def tiff_of_tiles(count):
    out, tile = io.BytesIO(), zlib.compress(noise()[:16, :16].tobytes())
    tifffile.imwrite(
        out, iter([tile] * count), shape=(32, 8 * count, 3), dtype=np.uint8, photometric="rgb", compression="zlib",
        tile=(16, 16),
    )  # fmt: skip
    return out.getvalue()


def tiff_that_names_one_piece_often():
    """Each of 1,500 rows says that it is a megabyte long."""
    out = io.BytesIO(tiff(smear(1500, 32), rowsperstrip=1, compression="zlib")[1] + bytes(1 << 20))
    with tifffile.TiffFile(out) as file:
        file.pages[0].tags["StripByteCounts"].overwrite([1 << 20] * 1500, dtype="I")
    return out.getvalue()


def tiff_of_a_larger_jpeg():
    """The only strip of a small TIFF is a JPEG that says it has 3,600 megapixels."""
    content = tiff(noise(), compression="jpeg", rowsperstrip=96)[1]
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", 60_000, 60_000) + content[at + 9 :]


COSTLY = {
    "PNG in a million pieces": (lambda: png(chunk(b"IDAT") * 200_001), "more pieces"),
    "PNG with ten thousand notes": (lambda: png(chunk(b"tEXt", b"k\0v") * 10_001), "more pieces"),
    "PNG with several profiles": (
        lambda: png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1000))) * 2), "more pieces",
    ),
    "196 megapixels in 30 scans": (lambda: wide_jpeg_of_scans(30), "more than 20 scans"),
    "BMP of 196 megapixels in runs": (bmp_in_runs, "RLE"),
    "TIFF of 50,002 tiles": (lambda: tiff_of_tiles(50_002), "50002 strips or tiles"),
    "TIFF whose JPEG says 3,600 megapixels": (tiff_of_a_larger_jpeg, "damaged"),
    "TIFF that names one piece often": (tiff_that_names_one_piece_often, "too many"),
}  # fmt: skip


def fill_bytes(count):
    """A JPEG with fill bytes before its first segment, and no marker behind them."""
    content = scans(0)[1]
    return content[:2] + b"\xff" * count + b"\0" + content[2:]


def described(text):
    return tiff(description=text, metadata=None)[1]


# What looks for markers and notations took the square of their length.
LONG = {
    "200,000 fill bytes in a JPEG": lambda: fill_bytes(200_000),
    "comments of OME that never end": lambda: described(b"<OME>" + b"<!--" * 200_000),
    "tags of OME that never end": lambda: described(b"<OME>" + b"<Pixels " * 100_000),
    "a word of OME that never ends": lambda: described(b"<OME><Pixels " + b"a" * 400_000 + b"/>"),
    "a unit of blanks of ImageJ": lambda: described(b"ImageJ=1.54\nunit=" + b" " * 200_000 + b"x"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one child process says to all of them and to a plain picture behind them."""
    folder = tmp_path_factory.mktemp("costly")
    files = {name: make() for name, (make, _) in COSTLY.items()}
    files |= {name: make() for name, make in LONG.items()} | {"plain": png(b"") + bytes(200_000)}
    paths = [folder / str(number) for number in range(len(files))]
    for path, content in zip(paths, files.values()):
        path.write_bytes(content)
    return dict(zip(files, check_images(paths, limits=LIMITS)))


@pytest.mark.parametrize("name", COSTLY)
def test_a_file_that_costs_more_than_a_picture_is_refused_before_it_is_decoded(name, answers):
    assert COSTLY[name][1] in str(answers[name])
    assert str(answers[name]).endswith(".")
    assert isinstance(answers["plain"], ImageFacts), answers["plain"]


@pytest.mark.parametrize("name", LONG)
def test_a_long_run_of_one_sign_is_passed_over_as_fast_as_it_is_read(name, answers):
    """None ends its child, which has 10 s of processor time for each file here."""
    assert isinstance(answers[name], ImageFacts) or "damaged" in str(answers[name])


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_in_a_compression_that_unpacks_without_bound_is_refused(tmp_path, how):
    """An archive of 0.15 MB took 2 GB of memory."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", how) as archive:
        archive.writestr("a.mrxs", bytes(1000))
    [said] = check_images([tmp_path / "a.zip"], limits=LIMITS)
    assert "packed in an unusual way" in str(said)
