"""Labels of cells: relabel, confirm, add, undo and redo, two readers at once; as the pages send them."""

import json
import uuid

import pytest
from django.urls import reverse

from leukoweb.analysis.models import Cell, Run
from leukoweb.audit.models import Event
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.models import Decision, Report

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide):
    case = make_case()
    make_slide(case, {"NGS": 6, "LYT": 3, "MON": 2})
    return case


@pytest.fixture
def reader(sign_in, technologist):
    return sign_in(technologist)


def _send(client, case, *decisions):
    body = json.dumps({"decisions": decisions})
    return client.post(reverse("case_decisions", args=[case.pk]), body, content_type="application/json")


def _act(client, case, act, **more):
    """Make one decision; the answer with what it came to: saved, nothing, refused or collided."""
    answer = _send(client, case, {"key": str(uuid.uuid4()), "act": act, **more}).json()
    [outcome] = answer["outcomes"]
    return {**answer, **outcome}


def _cells(case, code):
    return list(current_cells(case).filter(code=code).order_by("id"))


def _image(case):
    return case.slides.get().images.get().pk


def _code(cell):
    return current_cells(cell.run.slide.case).get(pk=cell.pk).code


def _decide(client, cells, code, seen=0, **more):
    case = cells[0].run.slide.case
    return _act(client, case, "label", cells={c.pk: seen for c in cells}, code=code, **more)


def test_a_label_is_a_new_row_beside_what_the_detector_said(case, reader, technologist):
    cell = _cells(case, "NGS")[0]
    assert _decide(reader, [cell], "NGB", reason="unsegmented")["state"] == "saved"
    decision = Decision.objects.get()
    assert (decision.from_code, decision.to_code, decision.reason) == ("NGS", "NGB", "unsegmented")
    assert decision.decided_by == technologist
    cell.refresh_from_db()
    assert cell.detector_code == "NGS"
    assert _code(cell) == "NGB"


def test_every_label_is_recorded_with_old_and_new_code(case, reader, technologist):
    """S4."""
    cell = _cells(case, "NGS")[0]
    _decide(reader, [cell], "NGB")
    event = Event.objects.get(action="cell.relabel")
    assert event.actor == technologist
    assert event.changes["cells"] == [[cell.pk, "NGS", "NGB"]]


def test_the_answer_carries_the_changed_cells_and_the_counts(case, reader):
    answer = _decide(reader, _cells(case, "LYT")[:2], "LYA")
    assert [cell["code"] for cell in answer["changed"]] == ["LYA", "LYA"]
    counts = {row["code"]: row["count"] for row in answer["summary"]["rows"]}
    assert (counts["LYT"], counts["LYA"], counts["NGS"]) == (1, 2, 6)


def test_not_a_cell_leaves_the_count_and_unidentified_stays_in_it(case, reader):
    first, second = _cells(case, "NGS")[:2]
    assert _decide(reader, [first], "NOT")["summary"]["total"] == 10
    assert _decide(reader, [second], "UNI")["summary"]["total"] == 10


@pytest.mark.parametrize("code", ["WBC", "", "ngs", 7])
def test_a_label_that_is_no_type_is_refused_in_words(case, reader, code):
    answer = _decide(reader, _cells(case, "NGS")[:1], code)
    assert answer["state"] == "refused"
    assert "is no cell type" in answer["sentence"]
    assert not Decision.objects.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "decision",
    [
        {},
        {"key": "no key", "act": "label"},
        {"key": str(uuid.UUID(int=1)), "act": "sign"},
        {"key": str(uuid.UUID(int=1)), "act": "label", "cells": {"x": 0}, "code": "NGS"},
        {"key": str(uuid.UUID(int=1)), "act": "label", "cells": {"1": "y"}},
        {"key": str(uuid.UUID(int=1)), "act": "label", "cells": {"²": 0}},
        {"key": str(uuid.UUID(int=1)), "act": "label", "cells": {str(2**70): 0}},
        {"key": str(uuid.UUID(int=1)), "act": "add", "box": [1, 2, 3], "code": "MYO"},
        {"key": str(uuid.UUID(int=1)), "act": "add", "box": ["a", 1, 2, 3], "code": "MYO"},
        {"key": str(uuid.UUID(int=1)), "act": "add", "box": [1e9, 1, 2, 3], "code": "MYO"},
    ],
)
def test_a_request_that_says_nothing_sensible_is_refused_in_words(case, reader, decision):
    answer = _send(reader, case, decision)
    assert answer.status_code == 400
    assert "none was stored" in answer.json()["detail"]


def test_a_broken_request_is_refused_and_no_error_page(case, reader):
    address = reverse("case_decisions", args=[case.pk])
    assert reader.post(address, "{not json", content_type="application/json").status_code == 400


def test_no_cell_chosen_is_refused_in_words(case, reader):
    assert _act(reader, case, "label", cells={}, code="NGS")["sentence"] == "No cell was selected."


def test_confirming_writes_the_label_that_stands(case, reader):
    cell = _cells(case, "MON")[0]
    _decide(reader, [cell], None)
    decision = Decision.objects.get()
    assert (decision.from_code, decision.to_code) == ("MON", "MON")
    assert Event.objects.filter(action="cell.confirm").exists()


def test_a_page_of_well_proven_cells_is_confirmed_at_once_each_with_its_own_row(case, reader):
    answer = _decide(reader, _cells(case, "NGS"), None)
    assert answer["state"] == "saved"
    assert Decision.objects.filter(to_code="NGS").count() == 6
    assert answer["summary"]["undecided"] == 5


def test_cells_of_two_types_are_never_confirmed_together(case, reader):
    """S10."""
    answer = _decide(reader, _cells(case, "NGS")[:2] + _cells(case, "LYT")[:2], None)
    assert answer["sentence"] == "Cells are confirmed together only when they are of one type."


def test_blasts_of_a_weakly_proven_type_are_never_confirmed_together(make_case, make_slide, reader):
    """S10: also not by giving them the label that they have."""
    case = make_case("A-1002")
    make_slide(case, {"MOB": 2})
    for code in (None, "MOB"):
        answer = _decide(reader, _cells(case, "MOB"), code)
        assert answer["state"] == "refused"
        assert "confirm each of them alone" in answer["sentence"]
    assert not Decision.objects.exists()


def test_cells_of_a_weakly_proven_type_pass_in_pages_of_twelve(make_case, make_slide, reader):
    """S10."""
    case = make_case("A-1002")
    make_slide(case, {"MMZ": 13})
    assert "At most 12" in _decide(reader, _cells(case, "MMZ"), None)["sentence"]
    assert _decide(reader, _cells(case, "MMZ")[:12], None)["state"] == "saved"


def test_cells_with_a_low_score_are_never_confirmed_together(case, reader):
    """S10."""
    Cell.objects.filter(detector_code="NGS").update(score=0.41)
    assert _decide(reader, _cells(case, "NGS")[:2], None)["state"] == "refused"
    assert _decide(reader, _cells(case, "NGS")[:1], None)["state"] == "saved"


def test_no_more_than_a_page_is_confirmed_at_once(make_case, make_slide, reader):
    """S10."""
    case = make_case("A-1002")
    make_slide(case, {"NGS": 61})
    answer = _decide(reader, _cells(case, "NGS"), None)
    assert answer["state"] == "refused"
    assert "At most 60" in answer["sentence"]


def test_cells_that_were_not_seen_do_not_count_as_seen_by_giving_many_of_them_another_type(
    make_case, make_slide, reader
):
    """S10, C10: a page at once, 12 where cells are looked at closely; 300 were verified by one key once."""
    case = make_case("A-1002")
    make_slide(case, {"NGS": 61, "MOB": 13})
    for code, most in (("NGS", 60), ("MOB", 12)):
        answer = _decide(reader, _cells(case, code), "LYT")
        assert (answer["state"], Decision.objects.count()) == ("refused", 0)
        assert f"At most {most} of these cells are given a type at once" in answer["sentence"]
    assert _decide(reader, _cells(case, "NGS")[:60], "LYT")["state"] == "saved"
    assert _decide(reader, _cells(case, "MOB")[:12], "MYO")["state"] == "saved"


def test_undo_takes_back_a_whole_step_and_redo_makes_it_again(case, reader):
    cells = _cells(case, "LYT")
    _decide(reader, cells, "LYA")
    undone = _act(reader, case, "undo")
    assert {cell["code"] for cell in undone["changed"]} == {"LYT"}
    assert not any(cell["decided"] for cell in undone["changed"])
    redone = _act(reader, case, "redo")
    assert {cell["code"] for cell in redone["changed"]} == {"LYA"}
    assert len(_cells(case, "LYA")) == 3


@pytest.mark.slow
def test_undo_goes_back_step_by_step_and_redo_forth_in_the_same_order(case, reader):
    cell = _cells(case, "NGS")[0]
    seen = 0
    for code in ("NGB", "MMZ", "MYB"):
        _decide(reader, [cell], code, seen)
        seen = Decision.objects.latest("id").pk
    codes = []
    for act in ("undo",) * 3 + ("redo",) * 3 + ("undo",):
        _act(reader, case, act)
        codes.append(_code(cell))
    assert codes == ["MMZ", "NGB", "NGS", "NGB", "MMZ", "MYB", "MMZ"]


def test_nothing_to_undo_or_redo_is_said_and_changes_nothing(case, reader):
    assert _act(reader, case, "undo")["sentence"] == "Nothing to undo"
    assert _act(reader, case, "redo")["sentence"] == "Nothing to redo"


@pytest.mark.slow
def test_a_new_label_ends_what_could_be_redone(case, reader):
    first, second = _cells(case, "NGS")[:2]
    _decide(reader, [first], "NGB")
    _act(reader, case, "undo")
    _decide(reader, [second], "NGB")
    assert _act(reader, case, "redo")["changed"] == []


def test_undo_is_of_ones_own_steps_only(case, reader, pathologist):
    cell = _cells(case, "NGS")[0]
    _decide(reader, [cell], "NGB")
    reader.force_login(pathologist)
    assert _act(reader, case, "undo")["changed"] == []
    assert _code(cell) == "NGB"


def test_a_label_on_a_cell_that_another_reader_changed_is_refused_with_both_shown(case, reader, pathologist):
    cell = _cells(case, "NGS")[0]
    _decide(reader, [cell], "NGB")
    reader.force_login(pathologist)
    answer = _decide(reader, [cell], "MMZ", seen=0)
    assert answer["state"] == "collided"
    assert [(c["code"], c["by"]) for c in answer["changed"]] == [("NGB", "Tess")]
    assert Decision.objects.count() == 1
    again = _decide(reader, [cell], "MMZ", seen=answer["changed"][0]["seen"])
    assert again["state"] == "saved"


def test_one_changed_cell_among_many_stops_all_of_them(case, reader, pathologist):
    cells = _cells(case, "LYT")
    _decide(reader, cells[:1], "LYA")
    reader.force_login(pathologist)
    assert _decide(reader, cells, "MON")["state"] == "collided"
    assert Decision.objects.count() == 1


@pytest.mark.slow
def test_undo_of_a_cell_that_another_reader_changed_since_is_refused(case, reader, technologist, pathologist):
    cell = _cells(case, "NGS")[0]
    _decide(reader, [cell], "NGB")
    reader.force_login(pathologist)
    _decide(reader, [cell], "MMZ", seen=Decision.objects.get().pk)
    reader.force_login(technologist)
    assert _act(reader, case, "undo")["state"] == "collided"
    assert _code(cell) == "MMZ"


def test_a_missed_cell_is_added_inside_the_image_with_its_own_decision(case, reader, technologist):
    image = case.slides.get().images.get()
    answer = _act(reader, case, "add", image=image.pk, **{"box": [1990, 1900, 2100, 1960], "code": "MYO"})
    assert answer["state"] == "saved"
    cell = Cell.objects.get(added_by=technologist)
    assert (cell.xyxy, cell.score, cell.detector_code) == ((1990, 1900, 2000, 1960), None, "")
    assert _code(cell) == "MYO"
    assert answer["changed"][0]["added"]
    assert Event.objects.filter(action="cell.add", object_id=str(cell.pk)).exists()


@pytest.mark.slow
def test_undo_of_an_added_cell_leaves_it_as_no_cell(case, reader):
    image = case.slides.get().images.get()
    _act(reader, case, "add", image=image.pk, **{"box": [900, 900, 960, 960], "code": "MYO"})
    undone = _act(reader, case, "undo")
    assert undone["changed"][0]["code"] == "NOT"
    assert undone["summary"]["total"] == 11
    assert _act(reader, case, "redo")["changed"][0]["code"] == "MYO"


@pytest.mark.parametrize("box", [[5, 5, 7, 7], [-90, -90, -10, -10]])
def test_a_box_that_cannot_hold_a_cell_is_refused_in_words(case, reader, box):
    answer = _act(reader, case, "add", image=_image(case), **{"box": box, "code": "MYO"})
    assert answer["state"] == "refused"
    assert "box" in answer["sentence"]


def test_a_cell_is_not_added_while_the_slide_is_analysed(case, reader):
    Run.objects.update(state=Run.State.RUNNING)
    answer = _act(reader, case, "add", image=_image(case), **{"box": [5, 5, 70, 70], "code": "MYO"})
    assert "is not finished" in answer["sentence"]


@pytest.mark.slow
def test_the_cells_of_a_signed_case_stay_as_they_are(case, reader, pathologist):
    """S9: a change needs an amendment, and then it goes."""
    signed = Report.objects.create(case=case, state=Report.State.SIGNED, created_by=pathologist)
    cell = _cells(case, "NGS")[0]
    for answer in (
        _decide(reader, [cell], "NGB"),
        _act(reader, case, "add", image=_image(case), **{"box": [5, 5, 70, 70], "code": "MYO"}),
        _act(reader, case, "undo"),
    ):
        assert answer["state"] == "refused"
        assert "This case is signed" in answer["sentence"]
    Report.objects.create(case=case, version=2, amends=signed, created_by=pathologist)
    assert _decide(reader, [cell], "NGB")["state"] == "saved"


def test_cells_of_two_cases_are_not_labelled_together(case, make_case, make_slide, reader):
    other = make_case("A-1002")
    make_slide(other, {"NGS": 1})
    answer = _decide(reader, [_cells(case, "NGS")[0], _cells(other, "NGS")[0]], "NGB")
    assert "not part of this case" in answer["sentence"]


def test_cells_of_another_laboratory_do_not_exist(case, sign_in, outsider):
    cell, image = _cells(case, "NGS")[0], case.slides.get().images.get()
    client = sign_in(outsider)
    for decision in (
        {"act": "label", "cells": {cell.pk: 0}, "code": "NGB"},
        {"act": "add", "image": image.pk, "box": [5, 5, 70, 70], "code": "MYO"},
        {"act": "undo"},
    ):
        assert _send(client, case, {"key": str(uuid.uuid4()), **decision}).status_code == 404
    assert client.get(reverse("case_cells", args=[case.pk])).status_code == 404
    assert not Decision.objects.exists()


def test_admins_do_not_label_cells(case, sign_in, admin):
    assert _send(sign_in(admin), case, {"key": str(uuid.uuid4()), "act": "undo"}).status_code == 403


def test_cells_of_a_comparison_run_are_out_of_reach(case, reader):
    slide = case.slides.get()
    run = Run.objects.create(slide=slide, is_shadow=True, state=Run.State.DONE)
    shadow = Cell.objects.create(
        run=run, image=slide.images.get(), detector_code="MYO", score=0.9, x1=0, y1=0, x2=9, y2=9
    )
    assert _decide(reader, [shadow], "NGB")["state"] == "refused"
    assert "MYO" not in {cell["code"] for cell in reader.get(reverse("case_cells", args=[case.pk])).json()["cells"]}


@pytest.mark.slow
def test_a_list_of_cells_costs_the_same_queries_for_ten_and_for_a_thousand(
    make_case, make_slide, reader, django_assert_max_num_queries
):
    small, large = make_case("A-10"), make_case("A-1000")
    make_slide(small, {"NGS": 10})
    make_slide(large, {"NGS": 400, "LYT": 300, "MYO": 300})
    for case in (small, large):
        with django_assert_max_num_queries(21):
            reader.get(reverse("case_cells", args=[case.pk]))
