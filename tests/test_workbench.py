"""The workbench page and what it asks for: lists, live presence, reference cells, a reader's own keys."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Run
from leukoweb.audit.models import Event
from leukoweb.review.cells.decisions import current_cells, relabel_cell, relabel_cells
from leukoweb.review.cells.lists import DEFAULT_KEYS, TAKEN_KEYS
from leukoweb.review.models import Presence, Report

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide):
    case = make_case()
    make_slide(case, {"NGS": 60, "LYT": 38, "MYO": 2})
    return case


@pytest.fixture
def reader(sign_in, pathologist):
    return sign_in(pathologist)


def _post(client, name, asked, *args):
    return client.post(reverse(name, args=args), json.dumps(asked), content_type="application/json")


def test_the_workbench_shows_the_case_and_its_opening_is_recorded(case, reader, pathologist):
    """S7."""
    page = reader.get(reverse("workbench", args=[case.pk])).content.decode()
    assert case.accession_number in page
    assert "Edelgard Wintermute" in page
    assert Event.objects.filter(action="case.read", case_id=case.pk, actor=pathologist).count() == 1


def test_the_cells_come_with_how_far_the_detector_is_proven_on_each_type(case, reader):
    """Counts that were typed right get their exact interval: 7 of 10 -> 35 to 93 %."""
    detector = active_detector()
    entry = next(e for e in detector.card["classes"] if e["code"] == "MON")
    entry["ward"] = {"n": 10, "ap50": 0.6, "precision": [0.9, 0.8, 0.95], "central_cell_typed_right": "7/10"}
    detector.save()
    shown = reader.get(reverse("case_cells", args=[case.pk])).json()["evidence"]["MON"]
    test = next(t for t in shown["tests"] if t["name"] == "ward")
    assert (test["right"], test["of"], test["low"], test["high"]) == (7, 10, 35, 93)
    assert test["precision"] == [90, 80, 95]
    assert shown["level"] == "weak"


def test_the_workbench_of_another_laboratory_does_not_exist(case, sign_in, outsider):
    assert sign_in(outsider).get(reverse("workbench", args=[case.pk])).status_code == 404


def test_the_workbench_of_a_signed_case_says_that_labels_are_only_read(case, reader, pathologist):
    Report.objects.create(case=case, state=Report.State.SIGNED, created_by=pathologist)
    page = reader.get(reverse("workbench", args=[case.pk])).content.decode()
    assert "Read-only" in page


def test_cells_that_could_change_a_flag_come_first(case, reader):
    """C7: two blasts in 100 are a flag that two relabelled cells would lift."""
    shown = reader.get(reverse("case_cells", args=[case.pk])).json()
    by_id = {cell["id"]: cell["code"] for cell in shown["cells"]}
    assert [by_id[key] for key in shown["summary"]["order"]] == ["MYO", "MYO"]
    assert shown["summary"]["least"]["MYO"] <= 2
    assert not shown["summary"]["settled"]


@pytest.mark.slow
def test_a_fully_reviewed_case_is_settled(case, reader, pathologist):
    for code in ("NGS", "LYT", "MYO"):
        for cell in current_cells(case).filter(detector_code=code):
            relabel_cell(cell, to=None, by=pathologist)
    summary = reader.get(reverse("case_cells", args=[case.pk])).json()["summary"]
    assert summary["settled"]
    assert (summary["order"], summary["undecided"]) == ([], 0)


def test_readers_see_each_other_and_what_the_other_changed(case, sign_in, technologist, pathologist, client):
    sign_in(technologist)
    assert _post(client, "case_presence", {"since": 0}, case.pk).json()["readers"] == []
    cell = current_cells(case).first()
    relabel_cells([cell], to="NGB", by=technologist)
    sign_in(pathologist)
    seen = _post(client, "case_presence", {"since": 0}, case.pk).json()
    assert seen["readers"] == ["Tess"]
    assert [(c["id"], c["code"], c["by"]) for c in seen["changed"]] == [(cell.pk, "NGB", "Tess")]
    again = _post(client, "case_presence", {"since": seen["changed"][0]["seen"]}, case.pk).json()
    assert "changed" not in again


def test_a_reader_who_left_is_not_shown(case, reader, technologist):
    Presence.objects.create(case=case, reader=technologist, seen_at=timezone.now() - timedelta(minutes=1))
    assert _post(reader, "case_presence", {}, case.pk).json()["readers"] == []


def test_asking_who_is_here_is_no_activity_of_a_person(case, reader, pathologist):
    """S7: the page asks with the mark of a request that nobody made."""
    reader.post(
        reverse("case_presence", args=[case.pk]),
        "{}",
        content_type="application/json",
        headers={"X-LeukoWeb-Poll": "1"},
    )
    pathologist.refresh_from_db()
    assert pathologist.last_seen_at is None


def test_presence_leaves_no_trace_in_the_audit_log(case, reader):
    before = Event.objects.count()
    _post(reader, "case_presence", {"since": 0}, case.pk)
    assert Event.objects.count() == before


def test_reference_cells_are_the_signed_ones_of_the_own_laboratory(
    case, make_case, make_slide, reader, pathologist, sign_in, outsider
):
    signed_case = make_case("A-1002")
    make_slide(signed_case, {"MYO": 3})
    cells = list(current_cells(signed_case))
    relabel_cells(cells, to=None, by=pathologist)
    relabel_cells(cells[:1], to="PMO", by=pathologist)
    address = reverse("reference_cells", args=["MYO"])
    assert reader.get(address).json()["cells"] == []
    Report.objects.create(case=signed_case, state=Report.State.SIGNED, created_by=pathologist)
    assert set(reader.get(address).json()["cells"]) == {cells[1].pk, cells[2].pk}
    assert sign_in(outsider).get(address).json()["cells"] == []


def test_a_reader_keeps_own_keys(reader, pathologist):
    keys = {**DEFAULT_KEYS, "NGS": "1", "LYT": "2"}
    answer = _post(reader, "reader_keys", {"keys": keys})
    assert {t["code"]: t["key"] for t in answer.json()["types"]}["NGS"] == "1"
    pathologist.refresh_from_db()
    assert pathologist.preferences["cell_keys"]["LYT"] == "2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"NGS": "n"}, "reserved by the workbench: N (next)"),
        ({"NGS": "l"}, "Two types share a key."),
        ({"NGS": "??"}, "A key is one letter or digit."),
        ({"WBC": "1"}, "Assign a key to every type."),
    ],
)
def test_keys_that_cannot_work_are_refused_in_words(reader, pathologist, change, sentence):
    answer = _post(reader, "reader_keys", {"keys": {**DEFAULT_KEYS, **change}})
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]
    pathologist.refresh_from_db()
    assert pathologist.preferences == {}


def test_the_first_keys_are_all_different_and_free():
    assert len(set(DEFAULT_KEYS.values())) == len(DEFAULT_KEYS) == 17
    assert not set(DEFAULT_KEYS.values()) & set(TAKEN_KEYS)


@pytest.mark.parametrize("state", [Run.State.QUEUED, Run.State.RUNNING])
def test_while_the_detector_works_no_page_says_that_no_leukocyte_was_found(make_case, make_slide, reader, state):
    case = make_case("A-1009")
    slide = make_slide(case, {})
    started = timezone.now() - timedelta(seconds=30)
    Run.objects.update(state=state, tiles_total=10, tiles_done=5, started_at=started)
    page = reader.get(reverse("case_detail", args=[case.pk])).content.decode()
    shown = reader.get(reverse("case_cells", args=[case.pk])).json()["summary"]
    of_slide = reader.get(reverse("slide_detail", args=[slide.pk])).content.decode()
    assert "No leukocyte" not in page + str(shown) + of_slide
    assert "Differential of 0" not in page
    expected = "next in line" if state == Run.State.QUEUED else "50% done, about 3"
    assert expected in page
    assert expected in shown["analysing"][0]
    assert expected in of_slide


def test_the_end_of_an_analysis_exchanges_all_of_the_slide_page_that_it_changes(make_case, make_slide, reader):
    """Scale and warnings of the images were those of the time before the analysis."""
    slide = make_slide(make_case("A-1009"), {"NGS": 2})
    part = reader.get(reverse("slide_detail", args=[slide.pk]), headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="slide-live"')
    assert "0.2000 µm/px" in part
    assert 'id="slide-page"' in part
    assert "<html" not in part
