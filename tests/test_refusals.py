"""One refusal, in four forms: a page, an htmx fragment, JSON for scripts, and the API's errors with their codes."""

import ast
import re
import uuid

import pytest
from rest_framework.test import APIClient

from leukoweb.refusals import CODES, Refused
from tests.services import ROOT

JSON = {"Accept": "application/json"}


def test_every_code_is_listed_in_the_documentation_with_its_status_and_meaning():
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", (ROOT / "docs" / "api-errors.md").read_text(), re.M)
    assert {code: (int(status), meaning) for code, status, meaning in listed} == CODES


@pytest.mark.slow
def test_every_code_that_the_product_uses_is_a_known_one():
    calls = [
        call
        for path in (ROOT / "leukoweb").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Refused"
    ]
    codes = {word.value.value for call in calls for word in call.keywords if word.arg == "code"
             and isinstance(word.value, ast.Constant)}  # fmt: skip
    assert len(calls) > 50
    assert codes - CODES.keys() == set()


def test_no_other_class_of_refusals_is_left_in_the_product():
    classes = {
        name
        for path in (ROOT / "leukoweb").rglob("*.py")
        for name in re.findall(r"^class (\w+)\((?:Exception|ValueError|RuntimeError)\)", path.read_text(), re.M)
    }
    ends_a_process_or_a_turn = {"CannotRun", "Stopped", "NotOurs", "NotYetChecked", "ScaleAsked"}
    answers_a_peer = {"MessageRefused", "Held", "NotDelivered"}  # in the terms of HL7, not of a page
    assert classes == {"Refused"} | ends_a_process_or_a_turn | answers_a_peer


def test_a_refusal_names_its_field_and_its_status():
    refused = Refused("This number is taken.", "number", code="taken")
    assert (refused.fields, refused.status) == ({"number": "This number is taken."}, 400)
    with pytest.raises(KeyError):
        Refused("Such a code is not documented.", code="no_such_code")


@pytest.mark.parametrize("address", ["/api/", "/api/v1/nothing/", "/api/v2/cases/", "/api/v1/slides/1/nothing/"])
def test_an_unknown_address_under_api_is_answered_with_json(client, db, address):
    for method in (client.get, client.post):
        answer = method(address)
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")
        assert answer.json()["code"] == "not_found"


def test_an_unknown_address_elsewhere_is_a_page_for_people_and_json_for_scripts(client, db):
    assert "Page not found" in client.get("/nothing/").content.decode()
    assert client.get("/nothing/", headers=JSON).json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "address", "body", "code"),
    [
        ("get", "/api/v1/slides/999999/", None, "not_found"),
        ("delete", "/api/v1/cases/", None, "wrong_method"),
        ("post", "/api/v1/cases/", {"accession_number": "X-1"}, "invalid"),
        ("post", "/api/v1/cases/", "{", "unreadable"),
        ("get", "/api/v1/cases/?state=none", None, "invalid"),
        ("get", "/api/v1/cases/?page=0", None, "not_found"),
        ("post", "/api/v1/token/", {"username": "tess", "password": "wrong"}, "wrong_password"),
        ("post", "/api/v1/token/revoke/", None, "invalid"),
    ],
)
def test_each_error_of_the_api_has_a_sentence_and_a_code(technologist, method, address, body, code):
    client = APIClient()
    client.force_login(technologist)
    sent = {} if body is None else {"data": body, "content_type": "application/json"} if isinstance(body, str) else {
        "data": body, "format": "json"}  # fmt: skip
    answer = getattr(client, method)(address, **sent)
    assert (answer.json()["code"], answer.status_code) == (code, CODES[code][0])
    assert answer.json()["detail"].endswith((".", "”."))


def test_without_and_with_a_wrong_token_the_codes_differ(db):
    assert APIClient().get("/api/v1/cases/").json()["code"] == "not_signed_in"
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Token lw_wrong")
    assert client.get("/api/v1/cases/").json()["code"] == "bad_token"


def test_a_number_that_is_taken_is_told_with_its_field(sign_in, technologist, make_case):
    make_case("H26-0042")
    asked = {"accession_number": "H26-0042", "patient": {"mrn": "M-77", "name": "Edelgard Wintermute"}}
    answer = sign_in(technologist).post("/api/v1/cases/", asked, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "taken")
    assert answer.json()["fields"].keys() == {"accession_number"}


def test_a_field_that_is_called_code_does_not_hide_the_code_of_the_error(sign_in, technologist, make_case, make_slide):
    cell = make_slide(make_case(), {"NGS": 1}).images.get().cells.get()
    answer = sign_in(technologist).post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "XYZ"}, "application/json")
    assert answer.json()["code"] == "invalid"
    assert answer.json()["fields"].keys() == {"code"}


def test_a_signed_case_is_refused_alike_by_page_and_api(sign_in, technologist, pathologist, make_case, make_slide):
    from leukoweb.review.models import Report

    case = make_case()
    cell = make_slide(case, {"NGS": 1}).images.get().cells.get()
    Report.objects.create(case=case, created_by=pathologist, state=Report.State.SIGNED, signed_by=pathologist)
    client = sign_in(technologist)
    label = {"key": str(uuid.uuid4()), "act": "label", "cells": {str(cell.pk): 0}, "code": "MON"}
    page = client.post(f"/cases/{case.pk}/decisions/", {"decisions": [label]}, "application/json")
    api = client.post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "MON"}, "application/json")
    assert (api.status_code, api.json()["code"]) == (409, "case_closed")
    [outcome] = page.json()["outcomes"]
    assert (outcome["state"], outcome["sentence"]) == ("refused", api.json()["detail"])
