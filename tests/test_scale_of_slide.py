"""The scale of a slide: one for all its images, decided of person, file and red cells, asked for where they differ."""

import io

import numpy as np
import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detection.inference.scale import ScaleUnknown, decide_scale, refuse_enlargement
from detection.phantom import draw_field
from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.analysis.tasks import run_detection
from leukoweb.api.services import give_token

pytestmark = pytest.mark.slow

GLASS = (249, 226, 200)  # of an empty field
SCALES = st.one_of(st.none(), st.floats(0.001, 5, allow_nan=False))


@pytest.fixture(scope="module")
def field():
    return draw_field(600, 600, um_per_px=0.2, seed=3, leukocytes={"NGS": 4, "LYT": 3}).image


def tiff(pixels, *, um_per_px=None, name="field.tif"):
    """A TIFF file, perhaps with its resolution in px per cm."""
    content = io.BytesIO()
    px_per_cm = 1e4 / um_per_px if um_per_px else 1
    resolution = {"resolution_unit": 3, "x_resolution": px_per_cm, "y_resolution": px_per_cm}
    Image.fromarray(pixels).save(content, "TIFF", **(resolution if um_per_px else {}))
    content.seek(0)
    content.name = name
    return content


@pytest.fixture
def read(sign_in, technologist, make_case):
    """Upload files as one slide, let the worker's task read it in this process, and return the run."""

    def uploaded(*files, um_per_px=""):
        case = make_case(f"S-{Run.objects.count()}")
        fields = {"images": files, "um_per_px": um_per_px}
        sign_in(technologist).post(reverse("slide_upload", args=[case.pk]), fields)
        return again(Run.objects.get(slide__case=case))

    return uploaded


def again(run):
    """Let the worker's task read a queued run."""
    run_detection.apply(args=[run.pk])
    run.refresh_from_db()
    return run


def test_a_persons_entry_wins_over_the_file_and_the_red_cells():
    scale = decide_scale([0.3], [0.8], [0.1])
    assert (scale.um_per_px, scale.method) == (0.3, "uploader")


def test_the_file_counts_where_the_red_cells_agree_or_cannot_be_measured():
    assert decide_scale([], [0.2], [0.25]).um_per_px == 0.2
    assert decide_scale([], [0.2], [None]).method == "file"


def test_the_median_of_the_red_cells_of_all_images_counts():
    scale = decide_scale([], [], [0.1, None, 0.11, 0.105, 0.3])
    assert (scale.um_per_px, scale.method) == (pytest.approx(0.1075), "red cells")


def test_files_that_differ_are_asked_for():
    with pytest.raises(ScaleUnknown, match="different scales"):
        decide_scale([], [0.1, 0.25], [])


@given(*[st.lists(SCALES, max_size=5)] * 3)
def test_a_decided_scale_is_always_in_the_range_and_never_invented(stated, in_files, red_cells):
    try:
        scale = decide_scale(stated, in_files, red_cells)
    except ScaleUnknown:
        return
    assert 0.02 <= scale.um_per_px <= 1
    given_scales = [own for own in (*stated, *in_files, *red_cells) if own]
    assert min(given_scales) - 1e-4 <= scale.um_per_px <= max(given_scales) + 1e-4


def test_a_scale_that_makes_an_image_huge_is_refused_in_words():
    refuse_enlargement(14_000, 14_000, 0.25, 0.143)
    with pytest.raises(ScaleUnknown, match="Correct the scale, or upload a smaller part"):
        refuse_enlargement(14_000, 14_000, 1.0, 0.143)


def test_a_file_against_its_red_cells_is_asked_about_before_anything_is_counted(read, field, sign_in, technologist):
    run = read(tiff(field, um_per_px=0.8))
    assert (run.state, run.asks_scale) == ("failed", True)
    assert "Nothing was counted" in run.error
    assert run.scale_choices["file"] == pytest.approx(0.8)
    assert run.scale_choices["red cells"] == pytest.approx(0.2, rel=0.12)
    assert not Cell.objects.filter(run=run).exists()
    page = sign_in(technologist).get(reverse("slide_detail", args=[run.slide_id])).content.decode()
    assert "The scale must be stated." in page
    assert "Read it at 0.8 µm per pixel (file)" in page
    assert "Try again" not in page
    sign_in(technologist).post(reverse("slide_scale", args=[run.slide_id]), {"um_per_px": "0.2"})
    run = again(Run.objects.get(slide=run.slide, is_shadow=False))
    assert (run.state, run.asks_scale) == ("done", False)
    assert ImageResult.objects.get(run=run).scale_method == "uploader"
    assert Cell.objects.filter(run=run).count() >= 5


def test_the_api_tells_the_choices_and_corrects_the_scale_of_a_failed_run(read, field, client, technologist):
    run = read(tiff(np.full((64, 64, 3), GLASS, np.uint8)))
    header = {"HTTP_AUTHORIZATION": f"Token {give_token(technologist, scope='write')[1]}"}
    told = client.get(f"/api/v1/slides/{run.slide_id}/", **header).json()
    assert (told["state"], told["scale_choices"]) == ("failed", {})
    assert "Enter the scale" in told["error"]
    address = f"/api/v1/slides/{run.slide_id}/scale/"
    for wrong in ("1.5", "none", ""):
        refused = client.post(address, {"um_per_px": wrong}, **header)
        assert refused.status_code == 400
    answer = client.post(address, {"um_per_px": "0.2"}, **header)
    assert (answer.status_code, answer.json()["state"], answer.json()["scale_choices"]) == (200, "queued", None)
    assert again(Run.objects.get(slide=run.slide, is_shadow=False)).state == "done"


def test_a_scale_out_of_range_in_a_file_is_not_used_and_a_persons_wins(read, field):
    run = read(tiff(field, um_per_px=1.5))
    assert run.state == "done", run.error
    result = ImageResult.objects.get(run=run)
    assert result.scale_method == "red cells"
    run = read(tiff(field, um_per_px=0.8), um_per_px="0.2")
    assert (run.state, ImageResult.objects.get(run=run).um_per_px) == ("done", 0.2)


def test_all_images_of_a_slide_are_read_at_one_scale_and_an_odd_one_is_flagged(read, field, sign_in, technologist):
    small = np.asarray(Image.fromarray(field).resize((300, 300)))  # the same field at 0.4 um per px
    turned = [np.rot90(field, turns).copy() for turns in (0, 1)]
    run = read(*(tiff(pixels, name=f"{n}.tif") for n, pixels in enumerate([*turned, small])))
    assert run.state == "done", run.error
    results = ImageResult.objects.filter(run=run).order_by("image__position")
    assert len({result.um_per_px for result in results}) == 1
    assert [result.is_scale_doubtful for result in results] == [False, False, True]
    page = sign_in(technologist).get(reverse("slide_detail", args=[run.slide_id])).content.decode()
    assert "Is it from another objective?" in page


def test_a_picture_that_is_no_smear_is_never_called_free_of_leukocytes(read):
    letters = np.full((400, 400, 3), GLASS, np.uint8)
    letters[::40, :] = (20, 30, 90)
    letters[:, ::55] = (60, 80, 120)
    run = read(tiff(letters), um_per_px="0.2")
    assert run.state == "failed"
    assert "could not be read as a stained smear" in run.error
    assert "No leukocyte" not in run.error
    empty = read(tiff(np.full((64, 64, 3), GLASS, np.uint8)), um_per_px="0.2")
    assert empty.state == "done"
