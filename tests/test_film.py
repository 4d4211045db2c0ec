"""Red cells and platelets by the detector: help that delays nothing and enters a report only by a person."""

from datetime import timedelta

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override
from PIL import Image
from scipy.stats import binomtest, chi2

from detection import FILM_CARD
from detection.card import Card, DetectorRefused
from detection.cell_types import CODES, FILM_CODES, classes_of
from detection.inference.film import FilmDetector, clumps_of, settle
from detection.lab.data.datasets import View
from detection.lab.data.readers import read_class_map
from detection.lab.measuring.evaluation import Found
from detection.lab.measuring.film import choose_thresholds, figures
from leukoweb.analysis import film
from leukoweb.analysis.models import FilmCount, FilmImage, ImageResult, Run
from leukoweb.audit.models import Event
from leukoweb.cases.models import CbcResult
from leukoweb.refusals import Refused
from leukoweb.review.counting.elements import (
    Elements,
    Measured,
    difference,
    estimate,
    per_field,
    per_thousand,
    poisson_interval,
)
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.findings.detected import ask_for_counts, detected_of
from leukoweb.review.findings.state import current_findings
from leukoweb.review.services import save_policy
from leukoweb.sentences import translated

FACTOR = {
    "film_by_detector": True,
    "platelet_factor": 14,
    "platelet_factor_source": "40 films against the analyser",
    "platelet_factor_on": "2026-05-04",
    "platelet_factor_by": "Dr. Okafor",
}


@pytest.fixture
def switched_on(laboratory, admin):
    """Let the laboratory want the count, by a factor of 14."""
    return save_policy(laboratory, rules_from(FACTOR), reason="help", by=admin)


@pytest.fixture
def counted(make_case, make_slide):
    """A case with one slide of 0.16 mm2 on which 40 platelets and 1,000 red cells were found, three in a clump."""
    case = make_case()
    run = make_slide(case, {"NGS": 3}).runs.get()
    own = FilmCount.objects.create(run=run, state=FilmCount.State.DONE, detector="platelet-yolov5p4 1")
    FilmImage.objects.create(
        count=own, image=run.slide.images.get(), um_per_px=0.2, area_um2=160_000, red_cells=1000, platelets=40,
        boxes={"PLT": [[10, 10, 20, 20, 0.9]], "RBC": []}, clumps=[[3, 100, 100, 140, 140]],
    )  # fmt: skip
    return case


def test_programs_read_what_was_counted_on_a_slide(counted, make_case, make_slide, sign_in, technologist):
    client = sign_in(technologist)
    own = client.get(f"/api/v1/slides/{counted.slides.get().pk}/film/").json()
    assert (own["state"], own["detector"]) == ("done", "platelet-yolov5p4 1")
    assert [(one["red_cells"], one["platelets"], one["clumps"]) for one in own["images"]] == [(1000, 40, [3])]
    without = make_slide(make_case("A-2"), {"NGS": 1})
    assert client.get(f"/api/v1/slides/{without.pk}/film/").status_code == 404


def add_platelets(case, amount, by):
    value = {"key": "PLT", "value": amount, "unit": "10*9/L", "amount": amount, "sent": str(amount)}
    CbcResult.objects.create(case=case, run=1, analyser="XN", is_final=True, values=[value], received_by=by)


def test_platelets_that_touch_or_nearly_do_are_a_clump_and_a_wide_box_is_one_by_itself():
    platelets = [[0, 0, 10, 10], [12, 0, 20, 10], [21, 15, 30, 25], [100, 0, 110, 10], [112, 0, 120, 10]]
    found = clumps_of(np.array([*platelets, [300, 0, 365, 40]], float), 0.1)
    assert [(clump.platelets, clump.xyxy) for clump in found] == [(3, (0, 0, 30, 25)), (1, (300, 0, 365, 40))]
    assert clumps_of(np.empty((0, 4)), 0.1) == []


@pytest.mark.parametrize("count", [0, 1, 40, 5000])
def test_the_interval_of_a_count_is_the_exact_one(count):
    low, high = poisson_interval(count)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2)


def test_platelets_are_given_per_field_and_per_thousand_red_cells():
    elements = Elements(red_cells=1000, platelets=40, area_mm2=0.16, images=1, least_mm2=0.16)
    assert per_field(elements, 0.04).value == pytest.approx(10)
    share = binomtest(40, 1040).proportion_ci(0.95, "exact")
    found = per_thousand(elements)
    assert (found.value, found.low, found.high) == pytest.approx(
        (40, 1000 * share.low / (1 - share.low), 1000 * share.high / (1 - share.high)), rel=1e-4
    )
    assert per_thousand(Elements(0, 4, 0.16, 1, 0.16)) is None
    cut_around_cells = Elements(1000, 40, 0.16, 120, 0.0013)
    assert per_field(cut_around_cells, 0.04) is None
    assert estimate(cut_around_cells, rules_from(FACTOR)) is None


def test_there_is_no_estimate_without_a_validated_factor():
    elements = Elements(1000, 40, 0.16, 1, 0.16)
    assert Rules().film_by_detector is False
    assert estimate(elements, Rules()) is None
    assert estimate(elements, rules_from(FACTOR)).value == pytest.approx(40 / 0.16 * 0.038 * 14)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"platelet_factor": 0}, "platelet_factor"),
        ({"platelet_factor": -15}, "platelet_factor"),
        ({"platelet_factor": "15"}, "platelet_factor"),
        ({"platelet_factor_source": " "}, "platelet_factor_source"),
        ({"platelet_factor_on": "2999-01-01"}, "platelet_factor_on"),
        ({"platelet_factor_on": "yesterday"}, "platelet_factor_on"),
        ({"platelet_factor_by": ""}, "platelet_factor_by"),
        ({"film_by_detector": "yes"}, "film_by_detector"),
        ({"platelet_field_mm2": 0}, "platelet_field_mm2"),
    ],
)
def test_a_factor_is_above_zero_and_says_who_validated_it_when_and_how(change, field):
    with pytest.raises(Refused) as refused:
        rules_from(FACTOR | change)
    assert list(refused.value.fields) == [field]


def test_film_and_analyser_may_differ_by_a_quarter():
    assert difference(Measured(180, 150, 215), 200, 25) == ""
    assert difference(Measured(140, 110, 175), 200, 25) == "perhaps"
    assert difference(Measured(100, 80, 120), 200, 25) == "surely"
    assert difference(Measured(300, 260, 340), 200, 25) == "surely"


def test_slides_are_counted_only_where_the_laboratory_wants_it_and_once(
    counted, make_case, make_slide, laboratory, admin
):
    FilmCount.objects.all().delete()
    ask_for_counts()
    assert not FilmCount.objects.exists()
    save_policy(laboratory, rules_from({"film_by_detector": True}), reason="help", by=admin)
    rejected = make_case("A-2")
    make_slide(rejected, {"NGS": 1})
    rejected.rejected_at = timezone.now()
    rejected.save()
    make_slide(make_case("A-3"), {"NGS": 1}).runs.update(state=Run.State.FAILED)
    ask_for_counts()
    ask_for_counts()
    assert [own.run.slide.case for own in FilmCount.objects.all()] == [counted]


def test_a_count_gives_way_to_slides_that_wait_but_not_for_ever(counted, make_slide, monkeypatch, settings, tmp_path):
    settings.STORE_DIR = tmp_path  # nothing that another test drew
    own = FilmCount.objects.get()
    FilmCount.objects.update(state=FilmCount.State.QUEUED, sent_at=timezone.now())
    make_slide(counted, {}).runs.update(state=Run.State.QUEUED)
    film.count(own.pk)
    own.refresh_from_db()
    assert (own.state, own.attempt, own.sent_at) == (FilmCount.State.QUEUED, 0, None)
    FilmCount.objects.update(asked_at=timezone.now() - timedelta(hours=1))
    monkeypatch.setattr(film, "load_film_detector", lambda: None)  # its pictures are absent: nothing is read
    film.count(own.pk)
    own.refresh_from_db()
    assert (own.state, own.attempt, own.error) == (FilmCount.State.FAILED, 1, film.NO_PICTURE)
    film.count(own.pk)  # a message that comes twice
    assert FilmCount.objects.get().attempt == 1


def test_a_count_whose_worker_was_killed_is_asked_again_three_times(counted):
    lost = {"state": FilmCount.State.RUNNING, "started_at": timezone.now() - timedelta(hours=1)}
    FilmCount.objects.update(**lost, attempt=1)
    film.send_waiting()
    assert FilmCount.objects.get().state == FilmCount.State.QUEUED
    FilmCount.objects.update(**lost, attempt=3)
    film.send_waiting()
    assert FilmCount.objects.get().state == FilmCount.State.FAILED


def test_the_panel_shows_figures_clumps_and_limits_and_is_absent_where_nobody_wants_it(
    counted, sign_in, technologist, laboratory, admin
):
    page = sign_in(technologist).get(reverse("case_detail", args=[counted.pk])).content.decode()
    assert "film-count" not in page
    save_policy(laboratory, rules_from({"film_by_detector": True}), reason="help", by=admin)
    page = sign_in(technologist).get(reverse("case_film", args=[counted.pk])).content.decode()
    assert "40.0</strong>" in page  # per 1,000 red cells
    assert "9.5</strong>" in page  # per field
    assert "has not validated a factor" in page
    assert "133" not in page
    assert reverse("clump_crop", args=[FilmImage.objects.get().pk, 0]) in page
    assert "What this count cannot do" in page
    boxes = sign_in(technologist).get(reverse("slide_elements", args=[counted.slides.get().pk])).json()
    assert list(boxes["images"].values()) == [{"PLT": [[10, 10, 20, 20, 0.9]], "RBC": []}]


def test_a_notice_says_that_film_and_analyser_differ(counted, switched_on, sign_in, technologist):
    add_platelets(counted, 400.0, technologist)
    page = sign_in(technologist).get(reverse("case_film", args=[counted.pk])).content.decode()
    assert "133 × 10⁹/L" in page
    assert "differ by more than 25%: check the sample" in page
    assert "Dr. Okafor" in page
    CbcResult.objects.all().delete()
    add_platelets(counted, 150.0, technologist)
    assert detected_of(counted).differs == ""


def test_nothing_enters_the_report_unless_a_person_accepts_it_and_the_note_says_where_it_came_from(
    counted, switched_on, sign_in, technologist
):
    client, address = sign_in(technologist), reverse("case_film_accept", args=[counted.pk])
    assert current_findings(counted) == {}
    answer = client.post(address, {"value": "2"})
    assert answer["HX-Trigger"] == "findings-changed"
    row = current_findings(counted)["platelet_adequacy"]
    assert (row.value, row.marked_by) == ("2", technologist)
    assert row.note == (
        "about 133 (95 % interval 95 to 181) × 10⁹/L by factor 14; 40 platelets and 1,000 red cells by "
        "platelet-yolov5p4 1, accepted by a person"
    )
    with override("de"):
        assert translated(row.note) == (
            "etwa 133 (95-%-Intervall 95 bis 181) × 10⁹/l mit Faktor 14; 40 Thrombozyten und 1.000 Erythrozyten vom "
            "Detektor platelet-yolov5p4 1, von einer Person übernommen"
        )
    event = Event.objects.filter(action="finding.mark").get()
    assert "platelet-yolov5p4 1" in str(event.changes)
    assert "adequate" in answer.content.decode()
    answer = client.post(address, {"value": "9"})
    assert "Choose one of" in answer.content.decode()
    assert current_findings(counted)["platelet_adequacy"].value == "2"


def test_a_slide_that_is_read_again_or_set_aside_takes_its_count_with_it(counted, switched_on):
    Run.objects.update(is_shadow=True)
    assert detected_of(counted) is None
    Run.objects.update(is_shadow=False)
    counted.slides.update(set_aside_at=timezone.now())
    assert detected_of(counted) is None


def test_what_is_as_wide_as_a_red_cell_and_half_taken_for_one_is_a_red_cell():
    red_cells = np.array([[0, 0, 60, 60], [100, 0, 130, 30], [200, 0, 230, 30], [300, 0, 375, 75]], float)
    platelets = np.array([[1, 0, 60, 61], [100, 0, 130, 30], [200, 0, 230, 30], [320, 20, 345, 45]], float)
    scores, stays = settle(red_cells, np.array([0.12, 0.2, 0.5, 0.9]), platelets, np.array([0.7, 0.6, 0.4, 0.8]), 0.1)
    assert scores.tolist() == [0.7, 0, 0.5, 0.9]
    assert stays.tolist() == [False, True, False, True]  # the last lies on a red cell: both are there


def test_all_of_an_image_is_counted_the_middle_of_a_large_one_and_blocks_of_a_whole_slide(counted):
    result = ImageResult.objects.get()
    assert film.windows_of(result) == [(0, 0, 2000, 2000)]
    result.image.width_px = 10_000
    assert film.windows_of(result) == [(2952, 0, 7048, 2000)]
    result.image.format = "SVS"
    result.coverage = {"read": [[9000, 1000, 10_100, 2100]] * 20}
    assert film.windows_of(result) == [(9000, 1000, 10_000, 2000)] * film.MOST_BLOCKS


def test_the_pixels_of_a_box_are_put_together_from_tiles(counted, draw_pixels):
    slide = draw_pixels(counted.slides.get())
    pixels = film.pixels_of(slide.images.get(), (500, 0, 1100, 40))
    assert pixels.shape == (40, 600, 3)
    assert np.abs(pixels[5, -1].astype(int) - [238, 220, 214]).max() < 4  # glass of the third tile


def test_a_network_finds_the_15_types_or_red_cells_and_platelets_never_both(tmp_path):
    assert classes_of(["NGS", "MYO"]) == CODES
    assert classes_of(["PLT"]) == FILM_CODES
    with pytest.raises(ValueError, match="the ones or the others"):
        classes_of(["PLT", "NGS"])
    (tmp_path / "classes.yaml").write_text("RBC: RBC\nPlatelets: PLT\nWBC: none\n")
    names = read_class_map(tmp_path / "classes.yaml")
    assert (names["RBC"], names["Platelets"], names["WBC"]) == ("RBC", "PLT", "-")


def test_the_card_of_red_cells_is_none_of_leukocytes_and_holds_figures_of_both_tests():
    card = Card.read(FILM_CARD, FILM_CODES)
    card.check_weights(FILM_CARD.with_suffix(".pt"))
    assert card.tests() == ["OI-PBC", "BCCD"]
    platelets = card.type_card("PLT").tests["OI-PBC"]
    assert platelets.n > 800
    assert 0.8 < platelets.recall[1] < platelets.recall[0] < platelets.recall[2]
    with pytest.raises(DetectorRefused):
        Card.read(FILM_CARD)


def test_figures_count_what_is_found_right_and_compare_sums_with_labels():
    views = [
        View("a", "a", 100, 100, (("PLT", (10, 10, 20, 20)), ("RBC", (30, 30, 60, 60)))),
        View("b", "b", 100, 100, (("PLT", (10, 10, 20, 20)), ("PLT", (0, 50, 10, 60)))),  # one is cut by the edge
    ]
    found = [
        Found(np.array([[10, 10, 20, 20], [30, 30, 60, 60], [70, 70, 80, 80]], float), np.array([1, 0, 1]),
              np.array([0.9, 0.9, 0.3])),
        Found(np.array([[10, 10, 20, 20]], float), np.array([1]), np.array([0.6])),
    ]  # fmt: skip
    assert choose_thresholds(views, found)["PLT"] > 0.3  # at which the two whole labelled ones are found
    rows = figures(views, found, {"RBC": 0.5, "PLT": 0.2})
    assert (rows["PLT"]["n"], rows["PLT"]["labelled_whole"], rows["PLT"]["found_whole"]) == (3, 2, 3)
    assert (rows["PLT"]["precision"][0], rows["PLT"]["recall"][0]) == (0.6667, 0.6667)
    assert rows["PLT"]["count_error"] == 0.5
    assert (rows["RBC"]["precision"][0], rows["RBC"]["ap50"]) == (1.0, 1.0)


def test_the_shipped_detector_finds_the_red_cells_of_a_field_in_their_size(smear_files, real_images):
    """Three seconds: nothing else shows that weights, scale and tiles fit together."""
    detector = FilmDetector.load(FILM_CARD.with_suffix(".pt"), FILM_CARD, device="cpu")
    um_per_px = 0.21 if real_images else 0.2
    with Image.open(smear_files[0]) as picture:
        reading = detector.read(np.asarray(picture.convert("RGB")), um_per_px, (100, 0))
    sides = [own.xyxy[2] - own.xyxy[0] for own in reading.elements if own.code == "RBC"]
    assert reading.red_cells > 20
    assert 5.5 < np.median(sides) * um_per_px < 9.5
    assert min(own.xyxy[0] for own in reading.elements) >= 100
