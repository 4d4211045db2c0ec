"""The queue of decisions that a page sends as one batch: nothing is lost, and a retry stores nothing twice (C7)."""

import json
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from leukoweb.analysis.models import Cell
from leukoweb.audit.models import Event
from leukoweb.review.cells.decisions import current_cells, relabel_cell
from leukoweb.review.criticals.models import Critical
from leukoweb.review.models import Decision, Report
from leukoweb.review.urgency import cases_that_differ

pytestmark = pytest.mark.usefixtures("known_evidence")


@pytest.fixture
def case(make_case, make_slide):
    case = make_case()
    make_slide(case, {"NGS": 14, "LYT": 3})
    return case


@pytest.fixture
def reader(sign_in, technologist):
    return sign_in(technologist)


def _cells(case, code):
    return list(current_cells(case).filter(detector_code=code).order_by("id"))


def _label(cell, code, seen=0):
    return {"key": str(uuid.uuid4()), "act": "label", "cells": {str(cell.pk): seen}, "code": code}


def _act(act, **more):
    return {"key": str(uuid.uuid4()), "act": act, **more}


def _send(client, case, decisions):
    body = json.dumps({"decisions": decisions})
    return client.post(reverse("case_decisions", args=[case.pk]), body, content_type="application/json")


def _states(answer):
    return [outcome["state"] for outcome in answer.json()["outcomes"]]


@pytest.mark.slow
def test_twelve_decisions_in_one_request_are_stored_and_audited_each(case, reader, technologist):
    answer = _send(reader, case, [_label(cell, "NGB") for cell in _cells(case, "NGS")[:12]])
    assert _states(answer) == ["saved"] * 12
    assert Decision.objects.filter(to_code="NGB", decided_by=technologist).count() == 12
    assert Event.objects.filter(action="cell.relabel", actor=technologist).count() == 12
    assert answer.json()["summary"]["undecided"] == 5


def test_the_flags_are_stored_once_for_all_decisions_of_a_request(case, reader):
    with CaptureQueriesContext(connection) as asked:
        _send(reader, case, [_label(cell, "MYO") for cell in _cells(case, "NGS")[:5]])
    assert sum('SET "flag_level"' in query["sql"] for query in asked) == 1
    case.refresh_from_db()
    assert (case.flag_level, case.glance["verified"], cases_that_differ()) == (3, 5, [])
    with CaptureQueriesContext(connection) as asked_again:
        _send(reader, case, [_label(_cells(case, "LYT")[0], None)])
    assert len(asked) - len(asked_again) < 4 * 9  # and what the first critical result costs


def test_what_is_critical_only_between_two_decisions_of_a_request_is_never_raised(case, reader):
    cell = _cells(case, "NGS")[0]
    assert _states(_send(reader, case, [_label(cell, "MYO"), _act("undo")])) == ["saved", "saved"]
    assert not Critical.objects.exists()
    _send(reader, case, [_act("redo")])
    assert Critical.objects.exists()


@pytest.mark.slow
def test_a_retry_with_the_same_keys_stores_nothing_twice_and_answers_the_same(case, reader):
    image = case.slides.get().images.get().pk
    cell = _cells(case, "NGS")[0]
    batch = [
        _label(cell, "NGB"),
        _act("add", image=image, box=[900, 900, 960, 960], code="MYO"),
        _act("undo"),
        _act("redo"),
    ]
    first = _send(reader, case, batch).json()
    stored = list(Decision.objects.order_by("id").values())
    events = Event.objects.count()
    assert _send(reader, case, batch).json() == first
    assert list(Decision.objects.order_by("id").values()) == stored
    assert Event.objects.count() == events


def test_a_decision_that_is_twice_in_a_request_is_stored_once(case, reader):
    decision = _label(_cells(case, "NGS")[0], "NGB")
    assert _states(_send(reader, case, [decision, decision])) == ["saved", "saved"]
    assert Decision.objects.count() == Event.objects.filter(action="cell.relabel").count() == 1


def test_a_retry_after_the_case_was_signed_says_that_the_decision_is_stored(case, reader, pathologist):
    batch = [_label(_cells(case, "NGS")[0], "NGB")]
    _send(reader, case, batch)
    Report.objects.create(case=case, state=Report.State.SIGNED, created_by=pathologist)
    assert _states(_send(reader, case, batch)) == ["saved"]


def test_a_retry_may_carry_new_decisions_behind_the_stored_ones(case, reader):
    """The page has not seen the first decision of the same cell yet: that is no collision."""
    cell = _cells(case, "NGS")[0]
    first = _label(cell, "NGB")
    _send(reader, case, [first])
    assert _states(_send(reader, case, [first, _label(cell, "MMZ")])) == ["saved", "saved"]
    assert current_cells(case).get(pk=cell.pk).code == "MMZ"


def test_one_cell_may_be_decided_twice_in_a_batch(case, reader):
    cell = _cells(case, "NGS")[0]
    assert _states(_send(reader, case, [_label(cell, "NGB"), _label(cell, "MMZ"), _act("undo")])) == ["saved"] * 3
    assert current_cells(case).get(pk=cell.pk).code == "NGB"


def test_a_refused_decision_stops_none_but_the_undo_behind_it(case, reader, pathologist):
    mine, theirs, other = _cells(case, "NGS")[:3]
    _send(reader, case, [_label(mine, "NGB")])
    relabel_cell(theirs, to="MMZ", by=pathologist)
    answer = _send(reader, case, [_label(theirs, "MYB"), _label(other, "NGB"), _act("undo")])
    assert _states(answer) == ["collided", "saved", "refused"]
    assert {cell["id"] for cell in answer.json()["changed"]} == {theirs.pk, other.pk}
    assert current_cells(case).get(pk=mine.pk).code == "NGB"
    assert current_cells(case).get(pk=other.pk).code == "NGB"


def test_a_key_of_one_reader_says_nothing_of_another_readers_decisions(case, reader, pathologist):
    cell = _cells(case, "NGS")[0]
    decision = _label(cell, "NGB")
    _send(reader, case, [decision])
    reader.force_login(pathologist)
    assert _states(_send(reader, case, [decision])) == ["collided"]


@pytest.mark.parametrize("count", [0, 201])
def test_an_empty_or_endless_batch_is_refused_whole(case, reader, count):
    cell = _cells(case, "NGS")[0]
    answer = _send(reader, case, [_label(cell, "NGB") for _ in range(count)])
    assert answer.status_code == 400
    assert not Decision.objects.exists()


def test_what_waited_in_a_page_is_not_stored_in_the_name_of_who_signed_in_since(
    sign_in, technologist, pathologist, make_case, make_slide
):
    case = make_case()
    make_slide(case, {"NGS": 1})
    batch = {
        "decisions": [{"key": str(uuid.uuid4()), "act": "label", "cells": {Cell.objects.get().pk: 0}, "code": None}]
    }
    address = reverse("case_decisions", args=[case.pk])
    client = sign_in(technologist)
    for reader, status in ((pathologist, 401), (technologist, 200)):
        answer = client.post(
            address, batch, content_type="application/json", headers={"X-LeukoWeb-Reader": str(reader.pk)}
        )
        assert answer.status_code == status
    assert Decision.objects.get().decided_by == technologist


@pytest.mark.parametrize("token", [None, "x" * 32, "not a token"])
def test_what_is_refused_for_want_of_a_token_brings_one_with_which_it_is_stored(case, technologist, token):
    """The page keeps what waits and sends it again with the token that its browser then holds."""
    reader = Client(enforce_csrf_checks=True)
    reader.force_login(technologist)
    if token:
        reader.cookies["csrftoken"] = token
    decisions = [_label(cell, "NGB") for cell in _cells(case, "NGS")[:3]]
    assert _send(reader, case, decisions).status_code == 403
    assert not Decision.objects.exists()
    reader.defaults["HTTP_X_CSRFTOKEN"] = reader.cookies["csrftoken"].value
    assert _states(_send(reader, case, decisions)) == ["saved"] * 3
