"""Whole slides from file to cells: what is taken, what is read of them, and in how much memory."""

import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import cv2
import hypothesis
import numpy as np
import pytest
import tifffile
from django.core.files import File
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detection.images import ImageFacts, ImageRefused, Limits, check_images, unpack_image
from detection.images.slides import Regions, slide_file
from detection.inference.blocks import cut_into_blocks, read_blocks
from detection.inference.detector import FoundCell
from detection.inference.monolayer import DENSE, SPARSE, USABLE, map_blocks
from detection.phantom import draw_field
from leukoweb.analysis.coverage import area_of
from leukoweb.analysis.models import Run
from leukoweb.analysis.slide_tiles import prune_tiles
from leukoweb.analysis.tasks import run_detection
from leukoweb.analysis.uploads import accept_upload
from leukoweb.analysis.whole_slides import WholeSlide
from leukoweb.cases.models import SlideImage
from leukoweb.cases.store import derived_folder, original_path, slide_tiles_folder
from leukoweb.review.services import count_case
from tests.scanner_files import write_dicom, write_mrxs, write_ndpi
from tests.services import ROOT
from tests.whole_slides import GLASS, UM_PER_PX, write_slide

EDGE_PX = 4096
SMALL = Limits(max_pixels=1_000_000)  # so that a small slide is too large to be decoded whole


@pytest.fixture(scope="module")
def field():
    """A drawn field with leukocytes, as wide as one block."""
    return draw_field(1200, 1200, um_per_px=UM_PER_PX, seed=3, leukocytes={"NGS": 4, "LYT": 3, "MON": 2})


def layers_of(pixels):
    """Three layers of a field over each other, as in the thick part of a smear."""
    layers = pixels / np.array(GLASS)
    for shift in (37, 61):
        layers = layers * np.roll(pixels, (shift, 2 * shift), (0, 1)) / np.array(GLASS)
    return np.clip(layers * GLASS, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slides(tmp_path_factory, field):
    """One slide of each kind with the field in the second block of the second row, and three layers of it beside."""
    folder = tmp_path_factory.mktemp("slides")
    fields = {(1200, 1200): field.image, (2400, 1200): layers_of(field.image)}
    return {kind: write_slide(folder / f"a.{kind}", EDGE_PX, fields, kind=kind) for kind in ("svs", "tiff", "ome")}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("svs", "SVS"), ("tiff", "WSI"), ("ome", "WSI")])
def test_a_whole_slide_is_recognised_with_its_size_and_scale(slides, kind, name):
    assert check_images([slides[kind]], limits=SMALL) == [ImageFacts(name, EDGE_PX, EDGE_PX, UM_PER_PX)]


@pytest.mark.slow  # child processes start several times
def test_slides_of_other_scanners_are_recognised_and_their_overview_is_the_picture(field, tmp_path):
    """DICOM as one file and as an archive of its levels, MRXS as an archive, NDPI: written in their structures."""
    pixels = np.full((1536, 1536, 3), GLASS, np.uint8)
    pixels[256:1456, 256:1456] = field.image
    folder = tmp_path / "slide"
    folder.mkdir()
    one = write_dicom(tmp_path / "a.dcm", pixels)
    levels = [write_dicom(folder / f"{times}.dcm", pixels, times=times) for times in (1, 4)]
    dicom = {path.name: path.read_bytes() for path in levels} | {"note.pdf": bytes(10_000_000)}  # larger than its slide
    index = write_mrxs(tmp_path / "mrxs", pixels)
    files = [
        ("DICOM", one),
        ("DICOM ZIP", packed(tmp_path / "dicom.zip", dicom)),
        ("NDPI", write_ndpi(tmp_path / "a.ndpi", pixels)),
        (
            "MRXS ZIP",
            packed(
                tmp_path / "mrxs.zip",
                {
                    str(path.relative_to(tmp_path)): path.read_bytes()
                    for path in (index, *index.with_suffix("").iterdir())
                },
            ),
        ),
    ]
    answers = check_images([path for _, path in files], limits=SMALL, scratch=tmp_path)
    assert answers == [ImageFacts(name, 1536, 1536, UM_PER_PX) for name, _ in files]
    for name, path in files:
        out = tmp_path / f"out {name}"
        unpack_image(path, out, limits=SMALL)
        assert abs(np.load(out / "pixels.npy").astype(int) - pixels).mean() < 4, name
        with Regions(slide_file(path, out / "slide")) as regions:
            part = regions.read(512, 256, 300, 200, 2).astype(int)
        wanted = cv2.resize(pixels[256:656, 512:1112], (300, 200), interpolation=cv2.INTER_AREA)
        assert abs(part - wanted).mean() < 5, name


@pytest.mark.slow
def test_a_slide_that_is_small_enough_is_a_picture_like_others(slides):
    [facts] = check_images([slides["svs"]])
    assert facts.format == "TIFF"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svs", "ome"])
def test_the_overview_is_unpacked_and_shows_the_field(slides, kind, field, tmp_path):
    facts = unpack_image(slides[kind], tmp_path, limits=SMALL)
    assert facts.format != "TIFF"
    overview = np.load(tmp_path / "pixels.npy")
    assert overview.shape == (EDGE_PX, EDGE_PX, 3)
    shown = overview[1200:2400, 1200:2400].astype(int)
    assert abs(shown - field.image).mean() < 4


def test_the_area_that_was_read_counts_what_regions_share_once():
    coverage = {"read": [[0, 0, 1000, 1000], [500, 500, 1500, 1000], [4000, 0, 5000, 1000]]}
    assert area_of(coverage, 1.0) == pytest.approx(1 + 0.25 + 1)
    assert area_of({"read": []}, 1.0) == 0


# Files that are no slide, or half of one ---------------------------------------------------------------


def packed(path, members, *, link=""):
    """A ZIP archive with these members, perhaps one that is a link."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, "/etc/passwd")
    return path


def refusal(path, **limits):
    [answer] = check_images([path], limits=Limits(max_pixels=1_000_000, **limits), scratch=path.parent)
    assert isinstance(answer, ImageRefused), answer
    assert not list(path.parent.glob("look-*"))
    return str(answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "link", "sentence"),
    [
        ({"../../outside.mrxs": b"x"}, "", "names a place outside of itself"),
        ({"/etc/outside.mrxs": b"x"}, "", "names a place outside of itself"),
        ({"..\\outside.mrxs": b"x"}, "", "names a place outside of itself"),
        ({"a.mrxs": b"x"}, "a/Slidedat.ini", "names a place outside of itself"),
        ({"a.mrxs": b"x"}, "", "a file of it is missing"),
        ({"a.mrxs": b"x", "a/Slidedat.ini": b"[GENERAL]"}, "", "a file of it is missing or damaged"),
        ({"a.mrxs": b"x", "b.mrxs": b"x"}, "", "holds several slides"),
        ({"word/document.xml": b"<w/>"}, "", "without a whole slide"),
        ({"bomb.mrxs": bytes(3_000_000)}, "", "larger than the limit"),
    ],
)
def test_an_archive_that_holds_no_slide_is_refused_in_a_sentence(tmp_path, members, link, sentence):
    assert sentence in refusal(packed(tmp_path / "a.zip", members, link=link), max_slide_bytes=2_000_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.slow
def test_an_archive_whose_member_is_longer_than_it_says_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.mrxs": bytes(3_000_000)})
    content = path.read_bytes().replace((3_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    path.write_bytes(content)
    assert "damaged" in refusal(path, max_slide_bytes=2_000_000)


@pytest.mark.slow
def test_half_an_archive_and_half_a_slide_are_refused(tmp_path, slides):
    whole = packed(tmp_path / "whole.zip", {"a.mrxs": b"x" * 5000}).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    assert "damaged or did not come whole" in refusal(tmp_path / "half.zip")
    # The directory of a BigTIFF by this writer is at its front: the file opens, and its tiles are missing.
    content = slides["tiff"].read_bytes()
    (tmp_path / "half.tif").write_bytes(content[: len(content) * 3 // 4])
    assert "copy it again" in refusal(tmp_path / "half.tif")


def test_a_slide_without_levels_that_is_too_large_to_be_shown_is_refused_at_once(tmp_path):
    """H36: the door took it, and it held a worker for five minutes. Each of its tiles is the same."""
    path, tile = tmp_path / "a.tif", cv2.imencode(".jpg", np.full((256, 256, 3), GLASS, np.uint8))[1].tobytes()
    tifffile.imwrite(
        path, iter([tile] * 180**2), shape=(180 * 256, 180 * 256, 3), dtype=np.uint8, photometric="rgb",
        compression="jpeg", tile=(256, 256),
    )  # fmt: skip
    assert "with its smaller levels" in refusal(path)


# The monolayer and its cells ---------------------------------------------------------------------------


def reader_of(pixels):
    """Read parts of an array as a slide is read."""
    return lambda x1, y1, x2, y2: pixels[y1:y2, x1:x2]


def test_the_map_tells_empty_usable_and_dense_blocks(field):
    pixels = np.full((2400, 3600, 3), GLASS, np.uint8)
    pixels[:1200, :1200], pixels[:1200, 1200:2400] = field.image, layers_of(field.image)
    pixels[1300:1900, 1300:1420] = field.image[:600, :120]  # a few cells
    small = cv2.resize(pixels, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    found = map_blocks(small, (3600, 2400), UM_PER_PX, reader_of(pixels))
    assert found.kinds.tolist() == [[USABLE, DENSE, SPARSE], [SPARSE, SPARSE, SPARSE]]
    assert found.best(5) == [(0, 0)]
    assert found.box(0, 0) == (0, 0, 1200, 1200)


@given(st.integers(50, 9000), st.integers(50, 9000), st.integers(100, 2000))
def test_regions_are_cut_into_blocks_that_cover_each_px_once(width, height, block_px):
    blocks = cut_into_blocks([(10, 20, width, height)], (8000, 8000), block_px)
    assert sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in blocks) == max(0, min(width, 8000) - 10) * max(
        0, min(height, 8000) - 20
    )
    assert all(0 < x2 - x1 <= block_px and 0 < y2 - y1 <= block_px for x1, y1, x2, y2 in blocks)


class Spots:
    """A detector that boxes every dark spot: what is asked here is where parts meet, not what a network sees."""

    card = SimpleNamespace(merge_iou=0.5)
    likeness = None

    def find_cells(self, image, um_per_px, **_):
        dark = (image[..., 0] < 120).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(dark)
        return [
            FoundCell("LYT", 0.5 + 0.001 * w, (float(x), float(y), float(x + w), float(y + h)))
            for x, y, w, h, _ in boxes[1:]
        ]


@pytest.mark.slow
@hypothesis.settings(max_examples=6)
@given(st.data())
def test_a_cell_at_the_seam_of_parts_is_counted_once_and_one_outside_not_at_all(data):
    pixels = np.full((800, 1000, 3), GLASS, np.uint8)
    places = [(x + data.draw(st.integers(-20, 20)), y + data.draw(st.integers(-20, 20)))
              for x in range(60, 980, 110) for y in range(60, 780, 110)]  # fmt: skip
    for place in places:
        cv2.circle(pixels, place, 18, (90, 40, 150), -1)
    parts = [(100, 100, 400, 400), (400, 100, 700, 400), (100, 400, 400, 700), (300, 300, 500, 500)]
    reading = read_blocks(parts, (1000, 800), UM_PER_PX, 1, reader_of(pixels), Spots())
    centres = {((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5) for x1, y1, x2, y2 in reading.boxes}
    inside = {(x, y) for x, y in places if any(a <= x + 0.5 < c and b <= y + 0.5 < d for a, b, c, d in parts)}
    assert centres == inside
    assert len(reading.cells) == len(inside)


# From the upload to the cells -------------------------------------------------------------------------


@pytest.mark.slow  # child processes start several times
def test_the_scale_of_a_slide_that_does_not_say_it_is_measured_in_its_red_cells(tmp_path, field):
    """The same overview serves both: its edge is that of the slide here."""
    pixels = np.full((EDGE_PX, EDGE_PX, 3), GLASS, np.uint8)
    pixels[1200:2400, 1200:2400] = field.image
    path = write_slide(tmp_path / "a.tiff", EDGE_PX, {(1200, 1200): field.image}, kind="tiff", scale=False)
    [facts] = check_images([path], limits=SMALL)
    assert facts.um_per_px is None
    image = SlideImage(sha256="5" * 64, format="WSI", width_px=EDGE_PX, height_px=EDGE_PX)
    stored = original_path(image.sha256)
    stored.parent.mkdir(parents=True, exist_ok=True)
    path.rename(stored)
    measured = []
    for um_per_px in (None, UM_PER_PX):
        image.um_per_px = um_per_px
        with WholeSlide(image, pixels) as slide:
            measured.append(slide.um_per_px_from_red_cells(lambda done, total: None))
    stored.unlink()
    assert measured == pytest.approx([UM_PER_PX, UM_PER_PX], rel=0.1)


@pytest.fixture(scope="module")
def large(tmp_path_factory, field):
    """A slide of 236 megapixels: a field in the second block of the second row, layers of it in another block."""
    fields = {(1200, 1200): field.image, (7200, 1200): layers_of(field.image)}
    return write_slide(tmp_path_factory.mktemp("large") / "a.svs", 4096 * 4 - 1024, fields)


@pytest.fixture
def upload(make_case, technologist):
    """Take a slide in as pages do; the run that waits."""

    def uploaded(path):
        with path.open("rb") as file:
            slide, refused = accept_upload(make_case(), [File(file, name=path.name)], by=technologist)
        assert not refused
        return slide.runs.get()

    return uploaded


@pytest.mark.slow  # it reads a slide of 236 megapixels with the detector
def test_the_monolayer_of_a_whole_slide_is_read_shown_and_exchanged_for_a_drawn_region(
    upload, large, field, sign_in, technologist, settings
):
    run = upload(large)
    slide, image = run.slide, run.slide.images.get()
    assert (image.format, image.width_px, image.um_per_px) == ("SVS", 15360, UM_PER_PX)
    run_detection.apply(args=[run.pk], task_id="one")
    run.refresh_from_db()
    assert run.state == Run.State.DONE, run.error
    coverage = run.image_results.get().coverage
    assert coverage["read"] == [[1200, 1200, 2400, 2400]]
    assert coverage["kinds"][1] == "susss" + "sdssssss"
    truth = np.array([box for _, box in field.cells]) + 1200
    found = np.array([cell.xyxy for cell in run.cells.all()])
    assert all(np.abs(found - box).max(1).min() < 30 for box in truth)
    assert len(found) == len(truth)

    assert area_of(coverage, UM_PER_PX) == run.image_results.get().area_mm2 == pytest.approx(0.09)
    assert run.read_of_slides == "Of the whole slide, 1 of 169 blocks were read (0.09 mm²)."
    limits = [said.report for said in count_case(run.slide.case).warnings]
    assert f"{slide}: {run.read_of_slides}" in limits

    client = sign_in(technologist)
    page = client.get(reverse("slide_detail", args=[slide.pk])).content.decode()
    assert "1 block was read" in page
    assert "Too dense: 1." in page
    # The picture of a cell was kept by the worker; coarse tiles are there, fine ones are made when asked for.
    made = len(list((derived_folder(image.sha256) / "crops").iterdir()))
    assert made >= len(found)
    assert client.get(reverse("cell_crop", args=[run.cells.first().pk])).status_code == 200
    assert len(list((derived_folder(image.sha256) / "crops").iterdir())) == made
    assert client.get(reverse("image_tile", args=[image.pk, 12, 0, 0])).status_code == 200
    assert not slide_tiles_folder(image.sha256).exists()
    tile = client.get(reverse("image_tile", args=[image.pk, 14, 3, 2]))
    shown = np.asarray(Image.open(io.BytesIO(b"".join(tile.streaming_content)))).astype(int)
    expected = field.image[0 : 1536 - 1200, 1536 - 1200 : 2048 - 1200].astype(int)
    assert abs(shown[1200 - 1024 :] - expected).mean() < 5
    assert len(list(slide_tiles_folder(image.sha256).rglob("*.jpg"))) == 16
    assert client.get(reverse("image_tile", args=[image.pk, 14, 30, 2])).status_code == 404
    assert client.get(reverse("cell_around", args=[run.cells.first().pk])).status_code == 200

    settings.SLIDE_CACHE_BYTES = 20_000
    assert prune_tiles() > 0
    kept = list(slide_tiles_folder(image.sha256).rglob("*.jpg"))
    assert sum(path.stat().st_size for path in kept) <= 20_000
    assert prune_tiles() == 0  # not again within minutes

    address = reverse("slide_regions", args=[slide.pk])
    for text, sentence in {
        "": "Draw at least one region", "1 2 3": "is no region", "9 9 5 5": "is no region",
        "0 0 15360 15360": "the limit is", "20000 0 30000 9": "is no region",
    }.items():  # fmt: skip
        answer = client.post(address, {"image": image.pk, "regions": text}, follow=True)
        assert sentence in answer.content.decode(), text
    assert Run.objects.count() == 1
    client.post(address, {"image": image.pk, "regions": "0 0 900 900\n"})
    again = slide.runs.get(is_shadow=False)
    assert again.regions == [[image.pk, 0, 0, 900, 900]]
    run_detection.apply(args=[again.pk], task_id="two")
    again.refresh_from_db()
    assert again.state == Run.State.DONE, again.error
    assert again.cells.count() == 0
    coverage = again.image_results.get().coverage
    assert (coverage["read"], coverage["drawn"]) == ([[0, 0, 900, 900]], True)
    page = client.get(reverse("slide_detail", args=[slide.pk])).content.decode()
    assert "in the regions that a reader drew" in page


READ_LARGE = """
import json, resource, sys
import numpy as np
from detection import SHIPPED
from detection.images import unpack_image
from detection.images.slides import Regions
from detection.inference.blocks import read_blocks
from detection.inference.detector import Detector
from detection.inference.monolayer import map_blocks
path, folder = sys.argv[1:]
facts = unpack_image(path, folder)
size, um = (facts.width_px, facts.height_px), facts.um_per_px
with Regions(path) as slide:
    look = lambda x1, y1, x2, y2: slide.read(x1, y1, (x2 - x1) // 4, (y2 - y1) // 4, 4)
    found = map_blocks(np.load(f"{folder}/pixels.npy", mmap_mode="r"), size, um, look)
    blocks = [found.box(*block) for block in found.best(150)]
    read = lambda x1, y1, x2, y2: slide.read(x1, y1, x2 - x1, y2 - y1)
    detector = Detector.load(*SHIPPED, device="cpu", backend="torch")
    reading = read_blocks(blocks, size, um, 1, read, detector)
peak = [resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"blocks": len(blocks), "cells": len(reading.cells), "peak": peak}))
"""


if os.environ.get("LEUKOWEB_TEST_FULL_SIZE"):  # it takes minutes

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_a_slide_of_60000_px_is_read_in_less_than_2_gb(tmp_path, field):
        places = [(1200, 1200), (30000, 30000), (54000, 6000), (48000, 54000)]  # whole blocks
        path = write_slide(tmp_path / "a.svs", 61440, {place: field.image for place in places})
        command = [sys.executable, "-c", READ_LARGE, str(path), str(tmp_path / "out")]
        done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        answer = json.loads(done.stdout.splitlines()[-1])
        print(answer)  # for docs/whole-slides.md
        assert answer["blocks"] == len(places)
        assert answer["cells"] == len(places) * len(field.cells)
        assert max(answer["peak"]) < 2 << 30
