"""Files as laboratories send them, whole and broken, through the child process that decodes them."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from detection.images import ImageFacts, ImageRefused, Limits, check_image, check_images, unpack_image

pytestmark = pytest.mark.slow


@pytest.fixture
def picture():
    """Noise of 200 x 120 px: every row and column is told apart."""
    return np.random.default_rng(7).integers(0, 255, (120, 200, 3), dtype=np.uint8)


def refusal(path, **limits):
    with pytest.raises(ImageRefused) as caught:
        check_image(path, limits=Limits(**limits))
    return str(caught.value)


def smooth(width_px, height_px):
    y, x = np.mgrid[:height_px, :width_px]
    return np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_give_the_pixels_that_were_saved(tmp_path, picture, format, mode):
    image = Image.fromarray(picture).convert(mode)
    image.save(tmp_path / "image", format)
    facts = unpack_image(tmp_path / "image", tmp_path / "out")
    assert facts == ImageFacts(format, 200, 120) == check_image(tmp_path / "image")
    pixels = np.load(tmp_path / "out/pixels.npy", mmap_mode="r")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_content_decides_and_the_name_does_not(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", "JPEG")
    assert check_image(tmp_path / "a.png").format == "JPEG"
    (tmp_path / "b.jpg").write_text("these are words")
    assert refusal(tmp_path / "b.jpg") == "Unsupported file type. Use JPEG, PNG, BMP or TIFF."
    (tmp_path / "c.png").write_bytes(b"%PDF-1.7 and so on")
    assert "is a PDF document" in refusal(tmp_path / "c.png")


def test_what_is_transparent_becomes_white(tmp_path):
    rgba = np.full((64, 64, 4), (90, 20, 140, 0), np.uint8)
    rgba[:, 32:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tiff", rgba, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tiff"):
        unpack_image(tmp_path / name, tmp_path / f"{name}.out")
        pixels = np.load(tmp_path / f"{name}.out/pixels.npy")
        assert (pixels[:, :32] == 255).all(), name
        assert (pixels[:, 32:] == (90, 20, 140)).all(), name


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
        {"compression": "deflate", "tile": (64, 48)},
        {"planarconfig": "separate"},
        {"compression": "zstd", "bigtiff": True},
    ],
)
def test_tiffs_in_strips_tiles_and_planes_give_the_same_pixels(tmp_path, picture, options):
    stored = np.moveaxis(picture, 2, 0) if "planarconfig" in options else picture
    tifffile.imwrite(tmp_path / "a.tiff", stored, photometric="rgb", **options)
    unpack_image(tmp_path / "a.tiff", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out/pixels.npy"), picture)


def test_the_scale_is_read_from_metadata_where_a_microscope_can_have_it(tmp_path, picture):
    cm, inch = 3, 2
    tifffile.imwrite(tmp_path / "cm.tiff", picture, resolution=(50000, 50000), resolutionunit=cm)
    tifffile.imwrite(tmp_path / "screen.tiff", picture, resolution=(72, 72), resolutionunit=inch)
    tifffile.imwrite(tmp_path / "uneven.tiff", picture, resolution=(50000, 25000), resolutionunit=cm)
    tifffile.imwrite(tmp_path / "imagej.tiff", picture, imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    tifffile.imwrite(
        tmp_path / "ome.ome.tiff",
        picture,
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"},
    )
    Image.fromarray(picture).save(tmp_path / "jfif.jpg", dpi=(50800, 50800))
    Image.fromarray(picture).save(tmp_path / "screen.jpg", dpi=(300, 300))
    scales = {path.name: check_image(path).um_per_px for path in tmp_path.iterdir()}
    assert scales == {
        "cm.tiff": 0.2,
        "screen.tiff": None,
        "uneven.tiff": None,
        "imagej.tiff": 0.25,
        "ome.ome.tiff": 0.25,
        "jfif.jpg": 0.5,
        "screen.jpg": None,
    }


def test_a_jpeg_that_ends_a_little_early_is_read_with_a_warning(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(smooth(640, 480)).save(whole, "JPEG", quality=90)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.getvalue()[: int(0.93 * len(whole.getvalue()))])
    facts = unpack_image(cut, tmp_path / "out")
    assert facts.warning.startswith("The JPEG ends early")
    assert facts == check_image(cut)
    pixels = np.load(tmp_path / "out/pixels.npy")
    assert (pixels[-8:] == 255).all()
    assert not (pixels[300] == 255).all()


def test_a_progressive_jpeg_is_read_when_only_its_last_bytes_are_missing(tmp_path):
    whole = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 20, (480, 640, 1))
    Image.fromarray((smooth(640, 480) * 0.5 + 60 + noise).astype(np.uint8)).save(whole, "JPEG", progressive=True)
    for share, is_read in ((0.97, True), (0.3, False)):
        (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
        [answer] = check_images([tmp_path / "cut.jpg"])
        assert isinstance(answer, ImageFacts) == is_read, (share, answer)


def test_files_cut_in_half_are_refused(tmp_path, picture):
    for format in ("JPEG", "PNG", "BMP", "TIFF"):
        whole = io.BytesIO()
        Image.fromarray(picture).save(whole, format)
        (tmp_path / format).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        assert "damaged or incomplete" in refusal(tmp_path / format), format


def test_each_refusal_says_what_to_do(tmp_path, picture):
    (tmp_path / "empty.jpg").touch()
    assert refusal(tmp_path / "empty.jpg").startswith("The file is empty: copy it again")
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert "the limit is" in refusal(tmp_path / "a.png", max_bytes=1000)
    assert "megapixels" in refusal(tmp_path / "a.png", max_pixels=10_000)
    assert "px an edge" in refusal(tmp_path / "a.png", max_edge_px=150)
    assert "too small" in refusal(tmp_path / "a.png", min_edge_px=150)
    assert "more memory than is allowed" in refusal(_large_png(tmp_path), memory_bytes=110 << 20)
    tifffile.imwrite(tmp_path / "deep.tiff", picture.astype(np.uint16))
    Image.fromarray(picture[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    for name in ("deep.tiff", "deep.png"):
        assert "16 bits a channel: save it as 8-bit RGB" in refusal(tmp_path / name)
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "print.jpg")
    assert "as for printing" in refusal(tmp_path / "print.jpg")
    for path in tmp_path.iterdir():
        [answer] = check_images([path])
        assert str(tmp_path) not in str(answer)
        assert path.name not in str(answer)


def _large_png(folder):
    Image.new("RGB", (5000, 5000)).save(folder / "large.png", compress_level=1)
    return folder / "large.png"


@pytest.mark.parametrize(("colour_type", "sentence"), [(2, "200 megapixels"), (3, "200 megapixels"), (0, "no colour")])
def test_a_decompression_bomb_is_refused_before_it_opens(tmp_path, colour_type, sentence):
    """Of a grey one nothing is said of its size: no smaller part of it would be read."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, colour_type, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    start = time.monotonic()
    assert sentence in refusal(tmp_path / "bomb.png")
    assert time.monotonic() - start < 5


def test_a_child_that_is_stopped_refuses_its_file_and_leaves_nothing(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    answers = check_images([tmp_path / "a.png", tmp_path / "a.png"], limits=Limits(wall_s=0.001))
    assert [str(answer).startswith("Reading the image took too long") for answer in answers] == [True, True]
    assert all("smaller levels" in str(answer) for answer in answers)  # a slide is no smaller as a PNG
    with pytest.raises(ImageRefused):
        unpack_image(tmp_path / "a.png", tmp_path / "out", limits=Limits(wall_s=0.001))
    assert not any((tmp_path / "out").iterdir())


def test_broken_and_odd_files_are_read_or_refused_and_whole_ones_beside_them_go_on(real_images, tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "whole.png")
    files = sorted((real_images / "malformed").iterdir()) if real_images else _broken_files(tmp_path, picture)
    answers = check_images([*files, tmp_path / "whole.png"])
    assert len(answers) == len(files) + 1
    for path, answer in zip(files, answers):
        assert isinstance(answer, ImageFacts) or str(answer).endswith("."), path.name
    assert answers[-1] == ImageFacts("PNG", 200, 120)
    for path in files[::40]:
        start = time.monotonic()
        [alone] = check_images([path])
        assert type(alone) is type(answers[files.index(path)]), path.name
        assert time.monotonic() - start < 5, path.name


def test_what_the_door_takes_the_reader_reads(real_images, tmp_path, picture):
    """H.44: a TIFF was taken, then refused by the worker, and its slide blocked the case."""
    files = sorted((real_images / "malformed").glob("*.tif*")) if real_images else _broken_files(tmp_path, picture)
    taken = [(path, facts) for path, facts in zip(files, check_images(files)) if isinstance(facts, ImageFacts)]
    assert taken
    for number, (path, facts) in enumerate(taken):
        assert unpack_image(path, tmp_path / f"out-{number}") == facts, path.name


def _broken_files(folder, picture):
    random = np.random.default_rng(3)
    files = []
    for number in range(60):
        format = ("JPEG", "PNG", "BMP", "TIFF")[number % 4]
        whole = io.BytesIO()
        Image.fromarray(picture).save(whole, format)
        content = np.frombuffer(whole.getvalue(), np.uint8).copy()
        content[random.integers(0, 200, 12)] = random.integers(0, 255, 12)
        files.append(folder / f"broken-{number}")
        files[-1].write_bytes(content.tobytes())
    return files


def test_a_large_tiff_in_strips_needs_little_memory(tmp_path):
    """6,000 x 6,000 px: 108 MB of pixels are written, and the child may not have them twice."""
    row = smooth(6000, 64)
    picture = np.tile(row, (94, 1, 1))[:6000]
    tifffile.imwrite(tmp_path / "large.tiff", picture, rowsperstrip=64, compression="deflate", photometric="rgb")
    facts = unpack_image(tmp_path / "large.tiff", tmp_path / "out", limits=Limits(memory_bytes=900 << 20))
    assert (facts.width_px, facts.height_px) == (6000, 6000)
    pixels = np.load(tmp_path / "out/pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(pixels[:64], row)
    np.testing.assert_array_equal(pixels[5952:6000], row[:48])


def test_the_tiles_of_the_viewer_cover_the_picture_at_every_level(tmp_path):
    picture = smooth(1300, 700)
    Image.fromarray(picture).save(tmp_path / "a.png")
    unpack_image(tmp_path / "a.png", tmp_path / "out")
    pyramid = tmp_path / "out/pyramid"
    assert sorted(int(level.name) for level in pyramid.iterdir()) == list(range(12))  # 2**11 is the first power >= 1300
    sizes = {tile.stem: Image.open(tile).size for tile in (pyramid / "11").iterdir()}
    assert sizes == {
        "0_0": (512, 512), "1_0": (512, 512), "2_0": (276, 512),
        "0_1": (512, 188), "1_1": (512, 188), "2_1": (276, 188),
    }  # fmt: skip
    assert Image.open(pyramid / "10/1_0.jpg").size == (138, 350)
    assert Image.open(pyramid / "0/0_0.jpg").size == (1, 1)
    tile = np.asarray(Image.open(pyramid / "11/1_1.jpg")).astype(int)
    assert abs(tile[50, 50] - picture[562, 562].astype(int)).max() < 30
