"""FHIR R4: what is read, found and ordered, in whose name, and that every refusal is an OperationOutcome.

The oracle is `fhirclient` (SMART Health IT): its models of R4 refuse unknown names, wrong types and missing elements.
The value sets whose binding is required are listed here as https://hl7.org/fhir/R4 has them.
"""

import json

import pytest
from django.urls import reverse
from fhirclient.models import (
    bundle,
    capabilitystatement,
    diagnosticreport,
    media,
    observation,
    operationoutcome,
    servicerequest,
    specimen,
)
from fhirclient.models import patient as patients

from leukoweb.api.services import give_token
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.services import reject_case
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import withdraw_report
from tests.conftest import PASSWORD
from tests.test_reports import post_signature, reviewed, signed  # noqa: F401 (fixtures)

MODELS = {
    "Bundle": bundle.Bundle, "CapabilityStatement": capabilitystatement.CapabilityStatement,
    "DiagnosticReport": diagnosticreport.DiagnosticReport, "Media": media.Media,
    "Observation": observation.Observation, "OperationOutcome": operationoutcome.OperationOutcome,
    "Patient": patients.Patient, "ServiceRequest": servicerequest.ServiceRequest, "Specimen": specimen.Specimen,
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"
REQUIRED = {
    "DiagnosticReport": {"registered", "partial", "preliminary", "final", "amended", "corrected", "appended",
                         "cancelled", "entered-in-error", "unknown"},
    "Observation": {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error",
                    "unknown"},
    "ServiceRequest": {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"},
    "Specimen": {"available", "unavailable", "unsatisfactory", "entered-in-error"},
}  # fmt: skip


def valid(answer, status=200):
    """Return a resource that the oracle takes."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/fhir+json")
    resource = json.loads(answer.content)
    MODELS[resource["resourceType"]](resource, strict=True)
    for one in [resource, *(entry["resource"] for entry in resource.get("entry", []))]:
        if one["resourceType"] in REQUIRED:
            assert one["status"] in REQUIRED[one["resourceType"]]
    return resource


def refused(answer, status, code):
    outcome = valid(answer, status)
    [issue] = outcome["issue"]
    assert issue["code"] == code
    return issue["diagnostics"]


@pytest.fixture
def read(client, technologist):
    client.force_login(technologist)
    return lambda address: client.get(f"/fhir/{address}")


PERSON = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "M-9"}], "gender": "female"}


def order(**changes):
    resource = {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "priority": "stat",
        "identifier": [{"value": "E-7"}], "code": {"coding": [{"system": "http://loinc.org", "code": "24318-8"}]},
        "contained": [{"resourceType": "Patient", "id": "p", "identifier": [{"value": "M-9"}],
                       "name": [{"family": "Nguyen", "given": ["Thanh"]}], "gender": "female",
                       "birthDate": "1983-09-27"}],
        "subject": {"reference": "#p"}, "requester": {"display": "Jones"}, "note": [{"text": "Blasts?"}],
    }  # fmt: skip
    return resource | changes


@pytest.fixture
def send(client, technologist):
    client.force_login(technologist)
    return lambda resource: client.post("/fhir/ServiceRequest", json.dumps(resource), "application/fhir+json")


def test_a_signed_report_is_read_with_its_figures(read, signed):  # noqa: F811
    report, _ = signed
    case = report.case
    found = valid(read(f"DiagnosticReport/{case.pk}"))
    assert (found["status"], found["identifier"]) == ("final", [{"value": report.seal}])
    panel = valid(read(found["result"][0]["reference"]))
    figures = {one["id"]: one for one in (valid(read(member["reference"])) for member in panel["hasMember"])}
    row = next(row for row in report.content["differential"]["rows"] if row["key"] == "NGS")
    quantity = figures[f"{case.pk}-NGS"]["valueQuantity"]
    assert (quantity["value"], quantity["code"]) == (pytest.approx(row["percent"], abs=0.0005), "%")
    assert figures[f"{case.pk}-blasts"]["valueQuantity"]["value"] == 0
    for kind in ("ServiceRequest", "Specimen"):
        valid(read(f"{kind}/{case.pk}"))
    assert valid(read(found["subject"]["reference"]))["identifier"] == [{"value": case.patient.mrn}]


def test_the_status_follows_the_case(read, client, signed, pathologist, technologist, make_case):  # noqa: F811
    report, _ = signed
    amend_report(report, by=pathologist, reason="One band was a metamyelocyte.")
    client.force_login(pathologist)
    post_signature(client, report.case)
    address = f"DiagnosticReport/{report.case.pk}"
    assert valid(read(address))["status"] == "corrected"
    newest = report.case.reports.order_by("-version").first()
    withdraw_report(newest, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    assert valid(read(address))["status"] == "entered-in-error"
    other = make_case("A-2")
    assert valid(read(f"DiagnosticReport/{other.pk}"))["status"] == "registered"
    reject_case(other, by=technologist, reason="clotted")
    rejected = valid(read(f"DiagnosticReport/{other.pk}"))
    assert (rejected["status"], "result" in rejected) == ("cancelled", False)


def test_nothing_of_an_unsigned_case_is_given_out(read, reviewed):  # noqa: F811
    case = reviewed()
    assert "result" not in valid(read(f"DiagnosticReport/{case.pk}"))
    refused(read(f"Observation/{case.pk}-NGS"), 404, "not-found")


def test_searches_page_by_key_and_name_nobody_in_their_address(read, client, make_case):
    for number in range(5):
        make_case(f"P-{number}")
    first = valid(read("DiagnosticReport?_count=3"))
    assert (first["total"], len(first["entry"])) == (5, 3)
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    second = valid(client.get(following))
    ids = [entry["resource"]["id"] for page in (first, second) for entry in page["entry"]]
    assert len(set(ids)) == 5
    assert "logs" in refused(read("Patient?identifier=M-77"), 400, "invalid")
    found = valid(client.post("/fhir/Patient/_search", "identifier=M-77", FORM))
    assert found["total"] == 1
    assert valid(client.post("/fhir/ServiceRequest/_search", "identifier=P-3", FORM))["total"] == 1
    patient = found["entry"][0]["resource"]["id"]
    assert valid(read(f"Specimen?patient=Patient/{patient}"))["total"] == 5
    refused(read("Patient?name=x"), 400, "invalid")
    refused(read("Patient?_id=x"), 400, "invalid")


def test_an_order_becomes_a_case(send):
    made = valid(send(order()), 201)
    case = Case.objects.with_state().get(accession_number="E-7")
    assert (case.state, case.priority, case.requester, case.clinical_note) == ("ordered", "stat", "Jones", "Blasts?")
    assert (case.patient.mrn, case.patient.name, case.patient.sex) == ("M-9", "Nguyen, Thanh", "F")
    assert made["id"] == str(case.pk)
    again = order(identifier=[{"value": "E-8"}], subject={"reference": f"Patient/{case.patient_id}"})
    valid(send(again), 201)
    assert Patient.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"code": {"coding": [{"code": "58410-2"}]}}, 422, "invalid"),
        ({"code": "film"}, 422, "invalid"),
        ({"subject": {"reference": "Patient/999"}}, 404, "not-found"),
        ({"subject": {"reference": "#q"}}, 400, "invalid"),
        ({"identifier": []}, 400, "invalid"),
        ({"identifier": [{"value": "Ä\n"}]}, 400, "invalid"),
        ({"status": "draft"}, 400, "invalid"),
        ({"resourceType": "Patient"}, 400, "invalid"),
        ({"authoredOn": "yesterday"}, 400, "invalid"),
        ({"priority": ["stat"], "contained": "p"}, 400, "invalid"),
        ({"priority": "STAT"}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen", "given": True}]}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen", "given": [1]}]}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": {}, "given": []}]}]}, 400, "invalid"),
    ],
)
def test_what_is_no_order_is_refused_as_an_outcome(send, changes, status, code):
    assert refused(send(order(**changes)), status, code)
    assert not Case.objects.exists()


def test_a_number_that_is_taken_is_a_conflict(send):
    valid(send(order()), 201)
    refused(send(order()), 409, "duplicate")


def test_another_laboratory_finds_nothing(client, outsider, signed):  # noqa: F811
    report, _ = signed
    client.force_login(outsider)
    for address in (f"DiagnosticReport/{report.case.pk}", f"Patient/{report.case.patient_id}",
                    f"Observation/{report.case.pk}-NGS", f"Media/{report.content['cells'][0]['id']}"):  # fmt: skip
        refused(client.get(f"/fhir/{address}"), 404, "not-found")
    assert valid(client.get("/fhir/Patient"))["total"] == 0
    foreign = order(subject={"reference": f"Patient/{report.case.patient_id}"})
    refused(client.post("/fhir/ServiceRequest", json.dumps(foreign), "application/fhir+json"), 404, "not-found")


def test_tokens_keep_their_scope(client, technologist, admin, make_case):
    make_case()
    _, secret = give_token(technologist, scope="read")
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    valid(client.get("/fhir/Patient", **bearer))
    valid(client.post("/fhir/Patient/_search", "identifier=M-77", FORM, **bearer))
    body = json.dumps(order())
    refused(client.post("/fhir/ServiceRequest", body, "application/fhir+json", **bearer), 403, "forbidden")
    refused(client.get("/fhir/Patient", HTTP_AUTHORIZATION="Bearer wrong"), 401, "login")
    refused(client.get("/fhir/Patient"), 401, "login")
    client.force_login(admin)
    refused(client.get("/fhir/Patient"), 403, "forbidden")


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [("Nothing", 404, "not-found"), ("Patient/x", 404, "not-found"), ("Nothing/1", 404, "not-found"),
     ("Patient/1-a", 404, "not-found"), ("Observation", 404, "not-found"), ("Patient/1/_history", 404, "not-found")],
)  # fmt: skip
def test_unknown_addresses_are_outcomes_too(read, make_case, address, status, code):
    make_case()
    refused(read(address), status, code)


def test_broken_bodies_and_other_methods_are_outcomes(client, technologist):
    client.force_login(technologist)
    refused(client.post("/fhir/ServiceRequest", "{", "application/fhir+json"), 400, "structure")
    refused(client.post("/fhir/Patient", "{}", "application/fhir+json"), 405, "not-supported")
    refused(client.delete("/fhir/Patient/1"), 405, "not-supported")
    refused(client.post("/fhir/ServiceRequest", "x", "text/plain"), 415, "not-supported")


def test_the_server_says_what_it_can(client):
    said = valid(client.get(reverse("fhir_metadata")))
    assert said["fhirVersion"] == "4.0.1"
    resources = {one["type"]: {i["code"] for i in one["interaction"]} for one in said["rest"][0]["resource"]}
    assert resources["ServiceRequest"] == {"read", "search-type", "create"}
    assert resources["Media"] == {"read"}
