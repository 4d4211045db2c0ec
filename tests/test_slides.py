"""Pixels, pictures of cells and the slide page, through client, view and database."""

import io

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.urls import reverse
from PIL import Image

from detection.images.decoding import write_pyramid
from leukoweb.analysis.crops import crop_path
from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.analysis.tasks import _Unpacked
from leukoweb.analysis.uploads import accept_upload
from leukoweb.audit.models import Event
from leukoweb.cases.models import Patient, SlideImage
from leukoweb.cases.store import derived_folder

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def slide(make_case, make_slide, draw_pixels):
    return draw_pixels(make_slide(make_case(), {"NGS": 3, "PMB": 1}))


def _image(answer):
    return Image.open(io.BytesIO(b"".join(answer.streaming_content)))


def test_a_tile_is_a_jpeg_that_only_the_readers_own_browser_may_keep(slide, sign_in, technologist):
    image = slide.images.get()
    answer = sign_in(technologist).get(reverse("image_tile", args=[image.pk, 11, 3, 0]))
    assert answer["Content-Type"] == "image/jpeg"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"].startswith("private")
    assert _image(answer).size == (2000 - 3 * 512, 512)


def test_a_tile_costs_three_queries(slide, sign_in, technologist, django_assert_max_num_queries):
    client, image = sign_in(technologist), slide.images.get()
    address = reverse("image_tile", args=[image.pk, 11, 0, 0])
    client.get(address)
    with django_assert_max_num_queries(3):
        client.get(address)


def test_a_tile_that_does_not_exist_is_not_found(slide, sign_in, technologist):
    answer = sign_in(technologist).get(reverse("image_tile", args=[slide.images.get().pk, 11, 99, 0]))
    assert answer.status_code == 404


@pytest.mark.parametrize("name", ["image_original", "cell_crop", "cell_around"])
def test_pixels_of_another_laboratory_do_not_exist(slide, sign_in, outsider, name):
    image = slide.images.get()
    key = image.pk if name.startswith("image") else image.cells.first().pk
    assert sign_in(outsider).get(reverse(name, args=[key])).status_code == 404


def test_an_original_is_a_download_under_a_neutral_name_and_is_recorded(slide, sign_in, technologist):
    image = slide.images.get()
    answer = sign_in(technologist).get(reverse("image_original", args=[image.pk]))
    assert answer["Content-Disposition"] == f'attachment; filename="slide-{slide.pk}-image-1.png"'
    assert _image(answer).size == (2000, 2000)
    event = Event.objects.filter(action="image.download").get()
    assert (event.actor, event.case_id) == (technologist, slide.case_id)


def test_the_pictures_of_all_cells_have_one_magnification_and_are_made_once(slide, sign_in, technologist):
    client, image = sign_in(technologist), slide.images.get()
    cells = list(image.cells.all())
    cells[0].x2 += 15
    cells[0].save()
    sizes = {_image(client.get(reverse("cell_crop", args=[cell.pk]))).size for cell in cells}
    assert sizes == {(160, 160)}  # 22 um at 0.2 um per px are 110 px, shown at the least size
    made = sorted((derived_folder(image.sha256) / "crops").iterdir())
    before = [path.stat().st_mtime_ns for path in made]
    client.get(reverse("cell_crop", args=[cells[1].pk]))
    assert [path.stat().st_mtime_ns for path in made] == before


def test_a_picture_shows_its_cell_in_the_middle_and_grey_beyond_the_edge(slide, sign_in, technologist):
    cell = slide.images.get().cells.order_by("x1").first()  # it touches the left upper corner
    picture = _image(sign_in(technologist).get(reverse("cell_crop", args=[cell.pk])))
    nucleus, outside = picture.getpixel((80, 80)), picture.getpixel((4, 4))
    assert nucleus[2] > 90 > nucleus[1]
    assert all(abs(a - b) < 8 for a, b in zip(outside, (236, 233, 238)))


def test_a_picture_over_the_seam_of_two_tiles_is_whole(slide, sign_in, technologist):
    cell = slide.images.get().cells.first()
    cell.x1, cell.x2, cell.y1, cell.y2 = 482, 542, 482, 542
    cell.save()
    picture = _image(sign_in(technologist).get(reverse("cell_crop", args=[cell.pk])))
    assert all(abs(a - b) < 12 for a, b in zip(picture.getpixel((80, 80)), (238, 220, 214)))


def test_a_cell_whose_pixels_are_not_there_yet_has_no_picture(make_case, make_slide, sign_in, technologist):
    slide = make_slide(make_case(), {"NGS": 1})
    image = slide.images.get()
    image.sha256 = "f" * 64
    image.save()
    assert sign_in(technologist).get(reverse("cell_crop", args=[image.cells.get().pk])).status_code == 404


def test_the_slide_page_says_queued_and_how_many_are_before_it(make_case, make_slide, sign_in, technologist):
    case = make_case()
    waiting = [make_slide(case, {}) for _ in range(3)]
    Run.objects.update(state=Run.State.QUEUED)
    page = sign_in(technologist).get(reverse("slide_detail", args=[waiting[2].pk])).content.decode()
    assert "Queued" in page
    assert "2 slides before it" in page
    assert 'hx-trigger="every 1500ms"' in page


def test_the_progress_asks_again_only_while_there_is_something_to_wait_for(slide, sign_in, technologist):
    client, address = sign_in(technologist), reverse("slide_progress", args=[slide.pk])
    Run.objects.update(state=Run.State.RUNNING, images_total=2, images_done=1, tiles_done=5, tiles_total=10)
    running = client.get(address)
    assert "hx-get" in running.content.decode()
    assert "1 of 2 images read" in running.content.decode()
    assert "tile 5 of 10" in running.content.decode()
    assert 'value="75"' in running.content.decode()
    assert "HX-Trigger" not in running
    Run.objects.update(state=Run.State.DONE)
    done = client.get(address)
    assert "hx-get" not in done.content.decode()
    assert done["HX-Trigger"] == "slide-done"


def test_a_failed_analysis_says_why_and_is_tried_again_by_a_button(slide, sign_in, technologist):
    client = sign_in(technologist)
    Run.objects.update(state=Run.State.FAILED, error="An image of this slide could not be read: it is cut off.")
    page = client.get(reverse("slide_detail", args=[slide.pk])).content.decode()
    assert "could not be read: it is cut off." in page
    answer = client.post(reverse("slide_retry", args=[slide.pk]))
    assert answer.url == reverse("slide_detail", args=[slide.pk])
    assert Run.objects.get(slide=slide).state == Run.State.QUEUED


def test_trying_again_what_has_not_failed_changes_nothing(slide, sign_in, technologist):
    sign_in(technologist).post(reverse("slide_retry", args=[slide.pk]))
    assert Run.objects.get(slide=slide).state == Run.State.DONE


def test_the_slide_page_names_drawn_slides_warnings_and_where_the_scale_comes_from(slide, sign_in, technologist):
    slide.is_drawn = True
    slide.save()
    slide.images.update(warning="The file ends 12 bytes early; it was read as far as it goes.")
    ImageResult.objects.update(scale_method="red cells", um_per_px=0.2083)
    page = sign_in(technologist).get(reverse("slide_detail", args=[slide.pk])).content.decode()
    assert "drawn, no blood" in page
    assert "ends 12 bytes early" in page
    assert "the red cells (median diameter = 7.5 µm)" in page
    assert "preliminary, not reviewed" in page
    ImageResult.objects.update(scale_method="assumed")
    assert "Scale unknown" in sign_in(technologist).get(f"/slides/{slide.pk}/").content.decode()


def test_reading_a_slide_page_is_recorded(slide, sign_in, technologist):
    """S7."""
    sign_in(technologist).get(reverse("slide_detail", args=[slide.pk]))
    assert Event.objects.filter(action="slide.read", object_id=str(slide.pk), actor=technologist).exists()


def test_the_cells_of_a_slide_say_where_the_detector_has_little_evidence(slide, sign_in, technologist):
    """S10: PMB was never trained, so every such cell says so."""
    shown = sign_in(technologist).get(reverse("slide_cells", args=[slide.pk])).json()
    looks = {cell["code"]: cell["look"] for cell in shown["cells"]}
    assert looks == {"NGS": [], "PMB": ["blast or promyelocyte", "no evidence for this type"]}
    assert shown["images"][0]["um_per_px"] == 0.2


def test_a_slide_with_hardly_a_leukocyte_says_that_a_differential_cannot_be_had(slide, sign_in, technologist):
    summary = sign_in(technologist).get(reverse("slide_cells", args=[slide.pk])).json()["summary"]
    assert summary["is_limited"]
    assert "Limited count: 4 leukocytes, fewer than 100" in summary["sentences"][0]
    slide.images.get().cells.all().delete()
    empty = sign_in(technologist).get(reverse("slide_cells", args=[slide.pk])).json()["summary"]
    assert empty["sentences"][0].startswith("No leukocytes detected")


def test_a_slide_page_of_another_laboratory_does_not_exist(slide, sign_in, outsider):
    for name in ("slide_detail", "slide_progress", "slide_cells"):
        assert sign_in(outsider).get(reverse(name, args=[slide.pk])).status_code == 404


def lying_picture(shade):
    """A picture of 900 x 600 px, stored on its side, and its JPEG; another shade makes another file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (900, 600), (230, 220, shade))
    picture.paste((90, 40, 130), (0, 0, 300, 300))
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif)
    return picture, out.getvalue()


@pytest.mark.slow
def test_the_case_that_shares_a_picture_keeps_the_tiles_that_its_boxes_fit(
    make_case, technologist, sign_in, laboratory
):
    """Read before pictures were turned upright; the same bytes are read again, upright, in another case."""
    picture, content = lying_picture(220)
    other_patient = Patient.objects.create(laboratory=laboratory, mrn="M-78", name="Ann Other")
    slides = []
    for case in (make_case("A-1"), make_case("A-2", patient=other_patient)):
        slide, refused = accept_upload(case, [ContentFile(content, name="side.jpg")], by=technologist)
        assert not refused
        slides.append(slide)
    old, new = (slide.images.get() for slide in slides)
    write_pyramid(np.asarray(picture), derived_folder(old.sha256) / "pyramid")
    SlideImage.objects.filter(pk=old.pk).update(width_px=900, height_px=600)
    old_run = slides[0].runs.get()
    ImageResult.objects.create(run=old_run, image=old, um_per_px=0.2, scale_method="uploader")
    cell = Cell.objects.create(run=old_run, image=old, detector_code="LYT", score=0.9, x1=100, y1=100, x2=200, y2=200)

    def overview(image):
        answer = sign_in(technologist).get(f"/images/{image.pk}/tiles/9/0_0.jpg")
        with Image.open(io.BytesIO(b"".join(answer.streaming_content))) as tile:
            return tile.size

    for _ in range(2):  # and when it is read once more
        with (unpacked := _Unpacked(slides[1].runs.get())).folder:
            assert unpacked.pixels(new).shape == (900, 600, 3)
        assert (overview(old), overview(new)) == ((450, 300), (300, 450))
        with Image.open(crop_path(cell, um_per_px=None)) as crop:
            assert crop.getpixel((5, 5))[0] < 120  # the dark square lies where the box says
    with (
        unpacked := _Unpacked(old_run)
    ).folder:  # the former one is read again too: upright, alone in the shared place
        unpacked.pixels(old)
    assert overview(old) == overview(new) == (300, 450)


@pytest.mark.slow
def test_a_picture_that_lies_on_its_side_gets_upright_tiles_and_size_when_it_is_read_again(make_case, technologist):
    """Before pictures were turned upright their tiles were made as they lie; the new reading's boxes are upright."""
    picture, content = lying_picture(225)
    slide, refused = accept_upload(make_case(), [ContentFile(content, name="side.jpg")], by=technologist)
    assert not refused
    image = slide.images.get()
    folder = derived_folder(image.sha256)
    write_pyramid(np.asarray(picture), folder / "pyramid")
    (folder / "crops").mkdir()
    (folder / "crops" / "1_1_9.jpg").write_bytes(b"of the picture as it lay")
    SlideImage.objects.update(width_px=900, height_px=600)
    image.refresh_from_db()
    run = slide.runs.get()
    with (unpacked := _Unpacked(run)).folder:
        assert unpacked.pixels(image).shape == (900, 600, 3)
    image.refresh_from_db()
    assert (image.width_px, image.height_px) == (600, 900)
    with Image.open(folder / "pyramid" / "9" / "0_0.jpg") as overview:
        assert overview.height > overview.width
    assert not (folder / "crops").exists()
    with (unpacked := _Unpacked(run)).folder:  # nothing is exchanged where nothing changed
        before = (folder / "pyramid").stat().st_ino
        unpacked.pixels(image)
    assert (folder / "pyramid").stat().st_ino == before
