"""Regions and map of a whole slide by the API: what the page of the slide does, with the same sentences."""

import pytest

from leukoweb.analysis.models import ImageResult, Run
from leukoweb.cases.models import SlideImage

COVERAGE = {"block_px": 1200, "kinds": ["sud", "sss"], "read": [[1200, 0, 2400, 1200]], "drawn": False}


@pytest.fixture
def slide(make_case, make_slide):
    """A slide whose one image is a whole slide, read in its monolayer."""
    slide = make_slide(make_case(), {"LYT": 1})
    image = slide.images.get()
    SlideImage.objects.filter(pk=image.pk).update(format="SVS", width_px=3600, height_px=2400, um_per_px=0.25)
    ImageResult.objects.update_or_create(
        run=Run.objects.get(), image=image,
        defaults={"um_per_px": 0.25, "scale_method": "file", "coverage": COVERAGE, "area_mm2": 0.09},
    )  # fmt: skip
    return slide


def test_the_map_is_given_and_regions_are_asked_for_and_forgotten(sign_in, technologist, slide):
    client, address, image = sign_in(technologist), f"/api/v1/slides/{slide.pk}/regions/", slide.images.get()
    assert client.get(address).json() == [
        {"image": image.pk, "regions": [], "block_px": 1200, "map": ["sud", "sss"],
         "read": [[1200, 0, 2400, 1200]], "area_mm2": 0.09}
    ]  # fmt: skip
    asked = {"image": image.pk, "regions": [[0, 0, 900, 800], [1000, 0, 9000, 700]]}
    answer = client.post(address, asked, "application/json")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert client.get(address).json()[0]["regions"] == [[0, 0, 900, 800], [1000, 0, 3600, 700]]
    Run.objects.filter(is_shadow=False).update(state=Run.State.DONE)
    assert client.delete(address).status_code == 200
    assert client.get(address).json()[0]["regions"] == []
    assert Run.objects.filter(slide=slide).count() == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"regions": []}, "Draw at least one region"),
        ({"regions": [[5, 5, 5, 9]]}, "is no region of this slide"),
        ({"regions": [[0, 0, 10**12, 10]]}, "is no region of this slide"),
        ({"regions": [[0, 0, 1, 1]] * 101}, "100"),
        ({"regions": [[0, 0, 1]]}, "4"),
        ({"regions": [[0, -1, 1, 1]]}, "0"),
        ({"regions": "all"}, "list"),
        ({"image": 10**9, "regions": [[0, 0, 9, 9]]}, "only on a whole slide"),
    ],
)
def test_what_is_no_region_is_refused_in_a_sentence(sign_in, technologist, slide, asked, sentence):
    asked = {"image": slide.images.get().pk} | asked
    answer = sign_in(technologist).post(f"/api/v1/slides/{slide.pk}/regions/", asked, "application/json")
    assert answer.status_code in (400, 409)
    assert sentence in answer.content.decode()
    assert Run.objects.count() == 1


def test_a_slide_of_fields_has_no_map_and_takes_no_regions(sign_in, technologist, make_case, make_slide):
    slide = make_slide(make_case(), {"LYT": 1})
    client, address = sign_in(technologist), f"/api/v1/slides/{slide.pk}/regions/"
    assert client.get(address).json() == []
    asked = {"image": slide.images.get().pk, "regions": [[0, 0, 9, 9]]}
    for answer in (client.post(address, asked, "application/json"), client.delete(address)):
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
