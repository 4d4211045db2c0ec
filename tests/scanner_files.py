"""Write small whole slides in the structures of scanners that no library here writes: DICOM, MRXS and NDPI.

Each holds what OpenSlide asks for and no more: no label, no preview, one data file.
"""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

TILE_PX = 256
UM_PER_PX = 0.25
WSI_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage (DICOM PS3.4)
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def write_dicom(path: Path, pixels: np.ndarray, *, times: int = 1) -> Path:
    """Write one level of a slide as TILED_FULL DICOM; levels in one folder belong together by their series."""
    small = _reduced(pixels, times)
    high, wide = small.shape[:2]
    frames = [_jpeg(_tile(small, x, y)) for y in range(0, high, TILE_PX) for x in range(0, wide, TILE_PX)]
    frames = [frame + bytes(len(frame) % 2) for frame in frames]
    uid = f"1.2.3.4.5.{times}"
    meta = b"".join(
        [
            _element(0x2, 0x1, "OB", b"\0\1"),
            _element(0x2, 0x2, "UI", WSI_STORAGE),
            _element(0x2, 0x3, "UI", uid),
            _element(0x2, 0x10, "UI", JPEG_BASELINE),
            _element(0x2, 0x12, "UI", "1.2.3.4"),
        ]
    )
    spacing = _element(0x28, 0x30, "DS", "\\".join([f"{times * UM_PER_PX / 1000:.6f}"] * 2))
    body = b"".join(
        [
            _element(0x8, 0x8, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
            _element(0x8, 0x16, "UI", WSI_STORAGE),
            _element(0x8, 0x18, "UI", uid),
            _element(0x8, 0x60, "CS", "SM"),
            _element(0x20, 0xD, "UI", "1.2.3.4.6"),
            _element(0x20, 0xE, "UI", "1.2.3.4.5"),
            _element(0x20, 0x9311, "CS", "TILED_FULL"),
            _element(0x28, 0x2, "US", struct.pack("<H", 3)),
            _element(0x28, 0x4, "CS", "YBR_FULL_422"),
            _element(0x28, 0x6, "US", struct.pack("<H", 0)),
            _element(0x28, 0x8, "IS", str(len(frames))),
            *(
                _element(0x28, number, "US", struct.pack("<H", value))
                for number, value in (
                    (0x10, TILE_PX), (0x11, TILE_PX), (0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0)
                )
            ),
            *(
                _element(0x48, number, "UL", struct.pack("<I", value))
                for number, value in ((0x6, wide), (0x7, high), (0x303, 1))
            ),
            _element(0x5200, 0x9229, "SQ", _item(_element(0x28, 0x9110, "SQ", _item(spacing)))),
        ]
    )  # fmt: skip
    starts = np.cumsum([0, *(8 + len(frame) for frame in frames[:-1])]).astype("<u4").tobytes()
    data = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + _item(starts)
    data += b"".join(map(_item, frames)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    group = _element(0x2, 0x0, "UL", struct.pack("<I", len(meta)))
    path.write_bytes(bytes(128) + b"DICM" + group + meta + body + data)
    return path


def write_mrxs(folder: Path, pixels: np.ndarray, *, levels: int = 3) -> Path:
    """Write `a.mrxs` and the folder `a` of a slide whose edges are whole tiles."""
    place = folder / "a"
    place.mkdir(parents=True)
    slide_id, across = "0123456789ABCDEF" * 2, pixels.shape[1] // TILE_PX
    content, index = bytearray(b"01.02" + slide_id.encode() + b"000"), bytearray(b"01.02" + slide_id.encode())
    index += struct.pack("<ii", len(index) + 8, 0) + bytes(4 * levels)
    sections = []
    for level in range(levels):
        small, step = _reduced(pixels, 1 << level), 1 << level
        rows = []
        for y in range(0, pixels.shape[0] // TILE_PX, step):
            for x in range(0, across, step):
                tile = _jpeg(_tile(small, x // step * TILE_PX, y // step * TILE_PX))
                rows.append(struct.pack("<iiii", y * across + x, len(content), len(tile), 0))
                content += tile
        struct.pack_into("<i", index, 5 + len(slide_id) + 8 + 4 * level, len(index))
        index += struct.pack("<iiii", 0, len(index) + 8, len(rows), 0) + b"".join(rows)
        sections.append(
            f"[LEVEL_{level}]\r\nOVERLAP_X = 0\r\nOVERLAP_Y = 0\r\nMICROMETER_PER_PIXEL_X = {UM_PER_PX * step}\r\n"
            f"MICROMETER_PER_PIXEL_Y = {UM_PER_PX * step}\r\nIMAGE_FORMAT = JPEG\r\nIMAGE_FILL_COLOR_BGR = 16777215\r\n"
            f"DIGITIZER_WIDTH = {TILE_PX}\r\nDIGITIZER_HEIGHT = {TILE_PX}\r\nIMAGE_CONCAT_FACTOR = {min(level, 1)}\r\n"
        )
    head = (
        f"[GENERAL]\r\nSLIDE_ID = {slide_id}\r\nIMAGENUMBER_X = {across}\r\n"
        f"IMAGENUMBER_Y = {len(pixels) // TILE_PX}\r\n"
        "OBJECTIVE_MAGNIFICATION = 40\r\nSLIDE_VERSION = 01.02\r\nCameraImageDivisionsPerSide = 1\r\n"
        f"[HIERARCHICAL]\r\nINDEXFILE = Index.dat\r\nHIER_COUNT = 1\r\nNONHIER_COUNT = 0\r\n"
        f"HIER_0_NAME = Slide zoom level\r\nHIER_0_COUNT = {levels}\r\n"
        + "".join(f"HIER_0_VAL_{level}_SECTION = LEVEL_{level}\r\n" for level in range(levels))
        + "[DATAFILE]\r\nFILE_COUNT = 1\r\nFILE_0 = Data0000.dat\r\n"
    )
    (place / "Slidedat.ini").write_text("\ufeff" + head + "".join(sections), "utf-8", newline="")
    (place / "Data0000.dat").write_bytes(content)
    (place / "Index.dat").write_bytes(index)
    (folder / "a.mrxs").write_bytes(_jpeg(pixels[:64, :64]))
    return folder / "a.mrxs"


def write_ndpi(path: Path, pixels: np.ndarray) -> Path:
    """Write a slide of two levels, each one JPEG, with directories whose links have eight bytes."""
    content, link = bytearray(b"II*\0" + bytes(12)), 4
    for times in (1, 4):
        small = _reduced(pixels, times)
        jpeg = _jpeg(small)
        start = len(content)
        content += jpeg + bytes(len(jpeg) % 2)
        at = len(content)
        content += struct.pack("<3HxxII10s", 8, 8, 8, round(1e4 / UM_PER_PX / times), 1, b"Hamamatsu")
        lens = struct.unpack("<I", struct.pack("<f", 40 / times))[0]
        entries = [
            (256, 4, 1, small.shape[1]), (257, 4, 1, small.shape[0]), (258, 3, 3, at), (259, 3, 1, 7), (262, 3, 1, 6),
            (271, 2, 10, at + 16), (273, 4, 1, start), (277, 3, 1, 3), (278, 4, 1, small.shape[0]),
            (279, 4, 1, len(jpeg)), (282, 5, 1, at + 8), (283, 5, 1, at + 8), (296, 3, 1, 3), (65420, 4, 1, 1),
            (65421, 11, 1, lens), (65424, 9, 1, 0),
        ]  # fmt: skip
        struct.pack_into("<I", content, link, len(content))
        content += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        link = len(content)
        content += bytes(8 + 4 * len(entries))  # the link, and the upper halves of the values
    path.write_bytes(content)
    return path


def _element(group: int, number: int, kind: str, value: bytes | str) -> bytes:
    if isinstance(value, str):
        value = value.encode() + (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in ("OB", "SQ") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind.encode() + length + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _reduced(pixels: np.ndarray, times: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(times)) if times > 1 else pixels


def _tile(pixels: np.ndarray, x: int, y: int) -> np.ndarray:
    tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    part = pixels[y : y + TILE_PX, x : x + TILE_PX]
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _jpeg(pixels: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=90, subsampling=0)
    return encoded.getvalue()
