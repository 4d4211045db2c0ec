"""A slide that is unlike the images on which its detector was tested is named, and its types count as less proven."""

import cv2
import numpy as np
import pytest
from django.urls import reverse

from detection import SHIPPED
from detection.card import Card, DetectorRefused
from detection.inference.detector import Detector
from detection.inference.likeness import Likeness, describe_stain, sharpness_of, typical_stains
from detection.inference.reading import read_field
from detection.inference.stain_transfer import Stain, as_lists, stain_of, transfer_stain
from detection.lab.data.datasets import View
from detection.lab.data.stains import measure_likeness
from detection.phantom import draw_field
from leukoweb.analysis.models import Run
from leukoweb.analysis.services import unlike_in
from leukoweb.cases.models import Case
from leukoweb.review.cells.decisions import evidence_of
from leukoweb.review.services import count_case

SCALE = 0.2


def draw(seed):
    return draw_field(500, 500, um_per_px=SCALE, seed=seed, leukocytes={"NGS": 3, "LYT": 3}).image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Views of one laboratory: most to learn from, some to set the limits by."""
    folder, views = tmp_path_factory.mktemp("pictures"), []
    for seed in range(12):
        path = folder / f"{seed}.png"
        cv2.imwrite(str(path), cv2.cvtColor(draw(seed), cv2.COLOR_RGB2BGR))
        split = "val" if seed % 3 == 0 else "train"
        views.append(View(str(path), "home", 500, 500, (("NGS", (0, 0, 9, 9)),), um_per_px=SCALE, split=split))
    return views


@pytest.fixture(scope="module")
def likeness(pictures):
    return measure_likeness(pictures, ["home"], 0.25)


def restained(image):
    """The same field with greenish nuclei and violet red cells, as no usual stain has them."""
    own = stain_of(image)
    aim = Stain(own.glass, own.nucleus[[1, 0, 2]], own.red_cell[[0, 2, 1]])
    return transfer_stain(image, own, aim, 1.0)


@pytest.mark.slow
def test_another_field_of_the_same_laboratory_is_alike(likeness):
    assert max(likeness.differences(draw(77), SCALE).values()) <= 1.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "um_per_px"),
    [
        ("stain", restained, SCALE),
        ("focus", lambda image: cv2.GaussianBlur(image, (0, 0), 4), SCALE),
        ("scale", lambda image: image, 0.4),
    ],
)
def test_what_is_unlike_is_named(likeness, name, change, um_per_px):
    assert likeness.differences(change(draw(77)), um_per_px)[name] > 1.5


def test_a_stain_that_a_calibration_brings_home_is_nearer(likeness):
    image = restained(draw(77))
    colour = {"own": as_lists(stain_of(image)), "aim": as_lists(stain_of(draw(77)))}
    assert 2 * likeness.differences(image, SCALE, colour)["stain"] < likeness.differences(image, SCALE)["stain"]


def test_empty_glass_has_no_stain_to_compare(likeness):
    assert set(likeness.differences(np.full((300, 300, 3), 240, np.uint8), SCALE)) == {"focus", "scale"}


def test_the_sharpness_of_a_camera_does_not_depend_on_its_pixels(pictures):
    image = draw(5)
    coarser = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    assert sharpness_of(coarser, SCALE / 0.8) == pytest.approx(sharpness_of(image, SCALE), rel=0.25)


def test_few_stains_are_all_typical_and_many_are_gathered():
    stains = [stain_of(draw(seed)) for seed in range(4)]
    assert np.allclose(typical_stains(stains), [describe_stain(stain) for stain in stains], atol=1e-5)
    assert typical_stains(stains * 20, most=3).shape == (3, 8)


def test_a_source_without_views_for_the_limits_is_refused(pictures):
    with pytest.raises(ValueError, match="name others"):
        measure_likeness([view for view in pictures if view.split == "train"], ["home"], 0.25)
    with pytest.raises(ValueError, match="name others"):
        measure_likeness(pictures, ["elsewhere"], 0.25)


def test_a_likeness_is_read_from_the_card_as_it_was_written(likeness):
    again = Likeness.of(likeness.as_facts())
    assert np.allclose(again.stains, likeness.stains, atol=1e-3)
    assert again.farthest_stain == pytest.approx(likeness.farthest_stain, abs=1e-4)


@pytest.mark.parametrize("facts", [{}, {"stains": []}, {"stains": [[1] * 8], "farthest_stain": 0}, "x", None])
def test_a_card_with_a_broken_likeness_is_refused(facts):
    card = Card.of(Card.read(SHIPPED[1]).facts | {"likeness": facts})
    with pytest.raises(DetectorRefused):
        Detector(card, None)


@pytest.mark.slow
def test_a_reading_says_how_unlike_its_image_is(likeness):
    weights, card = SHIPPED
    facts = Card.read(card).facts | {"likeness": likeness.as_facts()}
    detector = Detector.load(weights, facts, device="cpu", backend="torch")
    assert read_field(restained(draw(77)), detector, SCALE).unlike["stain"] > 1.5
    without = Detector.load(weights, {k: v for k, v in facts.items() if k != "likeness"}, device="cpu", backend="torch")
    assert read_field(draw(77), without, SCALE).unlike == {}


def test_the_middle_image_of_a_slide_decides():
    images = [{"stain": 0.8, "focus": 3.0}, {"stain": 1.4, "focus": 0.5}, {"focus": 0.6}]
    assert unlike_in(images) == ["stain"]
    assert unlike_in([{"stain": 0.8}, {"stain": 1.4}, {"stain": 0.9}]) == []
    assert unlike_in([{}, {}]) == []


def test_types_of_an_unlike_slide_count_as_one_step_less_proven(make_case, make_slide, known_evidence):
    case = make_case()
    make_slide(case, {"NGS": 3})
    before = evidence_of(case).levels
    Run.objects.update(unlike="stain, focus")
    after = evidence_of(case).levels
    assert {before[code] for code in before} >= {"good", "weak", "none"}
    steps = {"good": "fair", "fair": "weak", "weak": "weak", "none": "none"}
    assert after == {code: steps[level] for code, level in before.items()}


@pytest.mark.slow
def test_an_unlike_slide_is_named_on_its_page_its_case_and_in_the_limits_of_the_report(
    make_case, make_slide, sign_in, pathologist
):
    case = make_case()
    slide = make_slide(case, {"NGS": 30})
    client = sign_in(pathologist)
    sentence = "is unlike the images on which the detector was tested: stain."
    for address in (reverse("slide_detail", args=[slide.pk]), reverse("case_detail", args=[case.pk])):
        assert sentence not in client.get(address).content.decode()
    Run.objects.update(unlike="stain")
    for address in (reverse("slide_detail", args=[slide.pk]), reverse("case_detail", args=[case.pk])):
        assert sentence in client.get(address).content.decode()
    (said,) = [warning for warning in count_case(Case.objects.get()).warnings if sentence in warning.report]
    assert "review them closely" in said.bench
    assert "review them closely" not in said.report


def test_a_slide_that_was_set_aside_or_read_for_comparison_says_nothing(make_case, make_slide, known_evidence):
    case = make_case()
    make_slide(case, {"NGS": 3})
    before = evidence_of(case).levels
    run = Run.objects.get()
    Run.objects.create(slide=run.slide, detector=run.detector, state=Run.State.DONE, is_shadow=True, unlike="stain")
    assert evidence_of(case).levels == before
    assert count_case(Case.objects.get()).warnings == []
