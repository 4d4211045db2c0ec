"""FHIR R4: what is read, found and ordered, in whose name, and that every refusal is an OperationOutcome.

Two oracles read every answer: the JSON schema of R4 with its required value sets (`fhir_schema`), and `fhirclient`
(SMART Health IT), whose models refuse missing elements too.
"""

import json
from collections import Counter
from datetime import UTC, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
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
from leukoweb.review.models import Report
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import withdraw_report
from tests.conftest import PASSWORD
from tests.fhir_schema import problems_of
from tests.test_reports import WBC, acknowledge, look_at, post_signature, reviewed, signed  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow

MODELS = {
    "Bundle": bundle.Bundle, "CapabilityStatement": capabilitystatement.CapabilityStatement,
    "DiagnosticReport": diagnosticreport.DiagnosticReport, "Media": media.Media,
    "Observation": observation.Observation, "OperationOutcome": operationoutcome.OperationOutcome,
    "Patient": patients.Patient, "ServiceRequest": servicerequest.ServiceRequest, "Specimen": specimen.Specimen,
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"


def valid(answer, status=200):
    """Return a resource that the oracle takes."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/fhir+json")
    resource = json.loads(answer.content)
    MODELS[resource["resourceType"]](resource, strict=True)
    assert problems_of(resource) == []
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


def test_an_absolute_count_that_there_is_none_of_says_why(read, reviewed, client, pathologist):  # noqa: F811
    case = reviewed()
    client.force_login(pathologist)
    post_signature(client, case)
    absolute = valid(read(f"Observation/{case.pk}-NGS-absolute"))
    assert absolute["dataAbsentReason"]["text"] == "No analyser WBC was entered, so no absolute counts are given."
    assert "valueQuantity" not in absolute
    assert {"reference": f"Observation/{case.pk}-NGS-absolute"} in valid(read(f"Observation/{case.pk}-panel"))[
        "hasMember"
    ]


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


def test_a_withdrawn_report_stays_entered_in_error_while_its_amendment_is_open(read, signed, pathologist):  # noqa: F811
    """H22: it was called final again."""
    report, _ = signed
    withdraw_report(report, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    amend_report(report, by=pathologist, reason="The right tube.")
    assert valid(read(f"DiagnosticReport/{report.case_id}"))["status"] == "entered-in-error"
    assert valid(read(f"Observation/{report.case_id}-panel"))["status"] == "entered-in-error"


def test_a_critical_figure_carries_its_code_and_the_panel_what_must_be_known(read, reviewed, client, pathologist):  # noqa: F811
    """H26: the code went out by HL7 only, and limits and smudge cells that are lymphocytes were said nowhere."""
    case = reviewed({"NGS": 60, "LYT": 30, "KSC": 20, "MYO": 1})
    client.force_login(pathologist)
    acknowledge(client, case)
    choice = {"smudge_shown": "yes", "smudge_as_lymphocytes": "yes", "smudge_reason": "Known CLL."}
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "CLL.", **choice})
    acknowledge(client, case)
    assert post_signature(client, case, **choice).status_code == 302
    blasts = valid(read(f"Observation/{case.pk}-blasts"))
    assert [one["coding"][0]["code"] for one in blasts["interpretation"]] == ["AA"]
    notes = [note["text"] for note in valid(read(f"Observation/{case.pk}-panel"))["note"]]
    assert "20 smudge cells counted as lymphocytes: Known CLL." in notes
    assert any(note.startswith("Critical result: Blasts.") for note in notes)


def everything(read, case):
    """Read every resource of a case, each by its own address; return them by kind and id."""
    kinds = ("ServiceRequest", "Specimen", "DiagnosticReport")
    found = [valid(read(f"{kind}/{case.pk}")) for kind in kinds]
    report = found[-1]
    addresses = [report["subject"], *report.get("result", []), *(one["link"] for one in report.get("media", []))]
    found += [valid(read(one["reference"])) for one in addresses]
    panels = [one for one in found if one["resourceType"] == "Observation"]
    found += [valid(read(member["reference"])) for panel in panels for member in panel["hasMember"]]
    for kind in (*kinds, "Patient"):
        found.append(valid(read(kind)))
    return found


def test_every_resource_of_every_state_is_valid(
    read, client, make_case, make_slide, draw_pixels, technologist, pathologist
):
    """Both oracles read all that is given out: ordered, read, signed, amended, withdrawn, rejected; with pictures."""
    ordered, rejected = make_case("A-3"), make_case("A-4", wbc=None)
    reject_case(rejected, by=technologist, reason="clotted")
    case = make_case("A-1", **WBC, wbc_at=timezone.now(), requester="Jones", collector="Ash",
                     collected_at=timezone.now() - timedelta(hours=1), clinical_note="Blasts?")  # fmt: skip
    draw_pixels(make_slide(case, {"MYO": 3, "NGS": 60, "LYT": 30, "EBO": 8, "KSC": 2}))
    for one in (ordered, rejected, case):
        everything(read, one)
    look_at(case, technologist)
    client.force_login(pathologist)
    acknowledge(client, case)
    post_signature(client, case)
    report = Report.objects.get(case=case, state="signed")
    kinds = Counter(one["resourceType"] for one in everything(read, case))
    assert kinds["Media"] == len(report.content["pictures"]) > 0
    amend_report(report, by=pathologist, reason="One band was a metamyelocyte.")
    post_signature(client, case)
    assert {one["status"] for one in everything(read, case) if one["resourceType"] == "Observation"} == {"corrected"}
    newest = case.reports.order_by("-version").first()
    withdraw_report(newest, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    assert "Observation" in {one["resourceType"] for one in everything(read, case)}


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "signed"},
        {"status": None},
        {"code": "24318-8"},
        {"effectiveDateTime": "yesterday"},
        {"subject": {"reference": 7}},
        {"sealed": True},
        {"media": []},
    ],
)
def test_the_oracle_finds_what_is_wrong_also_within_a_bundle(read, signed, changes):  # noqa: F811
    """A gate that lets everything pass proves nothing."""
    report, _ = signed
    found = valid(read(f"DiagnosticReport/{report.case.pk}"))
    bundle_with = {"resourceType": "Bundle", "type": "collection"}
    assert problems_of({**bundle_with, "entry": [{"resource": found}]}) == []
    assert problems_of({**bundle_with, "entry": [{"resource": found | changes}]})


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ServiceRequest", {"status": "signed"}),
        ("ServiceRequest", {"priority": "STAT"}),
        ("Specimen", {"status": "ok"}),
    ],
)
def test_the_oracle_holds_required_value_sets(read, make_case, kind, changes):
    found = valid(read(f"{kind}/{make_case().pk}"))
    assert problems_of(found | changes)


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
    assert valid(read("Patient?_format=application/fhir%2Bjson"))["total"] == 1


def test_a_search_that_would_find_more_than_it_asks_for_is_refused(read, client, make_case):
    """A parameter that is there twice counted once, an empty number found every case without one."""
    make_case()
    assert "once" in refused(read("ServiceRequest?patient=1&patient=2"), 400, "invalid")
    assert "once" in refused(
        read("DiagnosticReport?_lastUpdated=lt2026-01-01&_lastUpdated=ge2025-01-01"), 400, "invalid"
    )
    refused(client.post("/fhir/ServiceRequest/_search", "identifier=", FORM), 400, "invalid")
    refused(client.post("/fhir/ServiceRequest/_search", "identifier=urn:x|", FORM), 400, "invalid")
    assert "body" in refused(client.post("/fhir/ServiceRequest/_search?patient=9", "", FORM), 400, "invalid")
    odd = json.dumps({"identifier": ["A-1001"]})
    assert "as a text" in refused(client.post("/fhir/ServiceRequest/_search", odd, "application/json"), 400, "invalid")
    refused(read("Patient?patient=99"), 400, "invalid")  # it found every patient
    both = client.post("/fhir/ServiceRequest/_search", "identifier=A-1001,A-1002", FORM)
    assert "at a time" in refused(both, 400, "invalid")
    refused(read("Patient?_format=xml"), 406, "not-supported")
    for moment in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00", "0001-01-01", "2026-11-28T08:00:00",
                   "2026-11-28T08:00:00-23:59"):  # fmt: skip
        refused(read(f"DiagnosticReport?_lastUpdated=ge{moment}"), 400, "invalid")


def test_the_figures_and_pictures_of_a_person_are_found_page_by_page(read, client, signed, technologist):  # noqa: F811
    report, _ = signed
    client.force_login(technologist)
    patient = f"patient=Patient/{report.case.patient_id}"
    panel = valid(read(f"Observation/{report.case_id}-panel"))
    address, seen = f"Observation?{patient}&_count=6", []
    while address:
        page = valid(read(address))
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        links = {link["relation"]: link["url"] for link in page["link"]}
        address = links["next"].partition("/fhir/")[2] if "next" in links else ""
    assert seen == [panel["id"], *(one["reference"].partition("/")[2] for one in panel["hasMember"])]
    assert len(seen) == page["total"] > 12
    code = valid(read(f"Observation/{report.case_id}-NGS"))["code"]["coding"][0]["code"]
    [segmented] = valid(read(f"Observation?{patient}&code=http://loinc.org|{code}"))["entry"]
    assert segmented["resource"]["id"] == f"{report.case_id}-NGS"
    for token, number in (("http://loinc.org|", 1), (f"|{code}", 0), (f"urn:local|{code}", 0), (code, 1)):
        assert bool(valid(read(f"Observation?{patient}&code={token}"))["total"]) == number, token
    assert valid(read(f"Observation?_id={report.case_id}-NGS"))["total"] == 1
    for odd in ("", "|", f"{code},{code}"):  # read as any code, and as none
        refused(read(f"Observation?patient=99999&code={odd}"), 400, "invalid")
    pictures = valid(read(f"Media?{patient}"))
    assert pictures["total"] == len(report.content["pictures"])
    for address in ("Observation?code=1-8", "Media?_count=3", f"Media?{patient}&code=1", "Observation?_id=x",
                    f"Observation?{patient}&code="):  # fmt: skip
        refused(read(address), 400, "invalid")
    for address in ("Observation?patient=99999", "Media?_id=99999"):
        assert "entry" not in valid(read(address))


def test_a_percentage_has_its_interval_and_its_range_the_ages_that_it_is_for(read, signed):  # noqa: F811
    report, _ = signed
    case, rows = report.case, {row["key"]: row for row in report.content["differential"]["rows"]}
    found = valid(read(f"Observation/{case.pk}-NGS"))
    bounds = {one["code"]["text"]: one["valueQuantity"] for one in found["component"]}
    assert bounds["95% interval, lower bound"]["value"] == pytest.approx(rows["NGS"]["low"], abs=0.0005)
    assert bounds["95% interval, upper bound"]["value"] == pytest.approx(rows["NGS"]["high"], abs=0.0005)
    [upper] = valid(read(f"Observation/{case.pk}-blasts"))["component"]
    assert upper["code"]["text"] == "95% upper limit, none found"
    assert upper["valueQuantity"]["value"] == pytest.approx(100 * (1 - 0.05 ** (1 / 100)), abs=0.0005)
    every = [*rows.values(), *report.content["differential"]["groups"].values()]
    judged = next(row for row in every if row["percent_range"] and row["count"])
    [limits] = valid(read(f"Observation/{case.pk}-{judged['key'].replace('_', '-')}"))["referenceRange"]
    assert limits["age"]["low"]["code"] in ("d", "mo", "a")
    assert f"{limits['age']['low']['value']}" == judged["percent_range"]["age_from"][:-1]


def test_the_paper_of_a_report_is_at_the_address_that_it_names(read, client, signed, make_case):  # noqa: F811
    report, _ = signed
    [paper] = valid(read(f"DiagnosticReport/{report.case.pk}"))["presentedForm"]
    answer = client.get(paper["url"])
    assert (answer["Content-Type"], answer.content[:5]) == (paper["contentType"], b"%PDF-")
    assert "presentedForm" not in valid(read(f"DiagnosticReport/{make_case('A-9').pk}"))


def test_reports_are_found_by_the_time_of_their_last_change(read, signed, make_case, pathologist):  # noqa: F811
    report, _ = signed
    make_case("A-9")
    at = report.signed_at.astimezone(UTC).replace(microsecond=0)

    def found(since):
        bundle = valid(read(f"DiagnosticReport?_lastUpdated={since}"))
        return [entry["resource"]["id"] for entry in bundle.get("entry", [])]

    assert found(f"ge{at:%Y-%m-%dT%H:%M:%SZ}") == [str(report.case.pk)]
    assert found(f"gt{at + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}") == []
    # Who goes on from the newest change gets no report twice, and each later change of it as one.
    first = valid(read(f"DiagnosticReport/{report.case.pk}"))["meta"]
    since = f"gt{first['lastUpdated'].replace('+', '%2B')}"
    assert found(since) == []
    withdraw_report(report, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    assert found(since) == [str(report.case.pk)]
    second = valid(read(f"DiagnosticReport/{report.case.pk}"))["meta"]
    assert second["lastUpdated"] > first["lastUpdated"]
    assert second["versionId"] != first["versionId"]
    assert found(f"gt{second['lastUpdated'].replace('+', '%2B')}") == []
    for wrong in ("2026-11-28", "ge", "gesoon", "le2026-11-28"):
        refused(read(f"DiagnosticReport?_lastUpdated={wrong}"), 400, "invalid")
    refused(read("Specimen?_lastUpdated=ge2026-11-28"), 400, "invalid")


def test_an_order_becomes_a_case(send):
    made = valid(send(order()), 201)
    case = Case.objects.with_state().get(accession_number="E-7")
    assert (case.state, case.priority, case.requester, case.clinical_note) == ("ordered", "stat", "Jones", "Blasts?")
    assert (case.patient.mrn, case.patient.name, case.patient.sex) == ("M-9", "Nguyen, Thanh", "F")
    assert made["id"] == str(case.pk)
    again = order(identifier=[{"value": "E-8"}], subject={"reference": f"Patient/{case.patient_id}"})
    valid(send(again), 201)
    assert Patient.objects.count() == 1


def typed(kind, value, **more):
    return {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}]},
            "value": value, **more}  # fmt: skip


def test_an_order_is_read_by_the_type_of_its_numbers_the_use_of_its_names_and_what_it_contains(send):
    """The first number and the first name counted, whatever they were; specimen, reason and ward were left out."""
    old, maiden = {"use": "old", "value": "M-0"}, {"use": "maiden", "family": "Miller", "given": ["Thanh"]}
    person = PERSON | {
        "identifier": [old, typed("SS", "999"), typed("MR", "M-9")],
        "name": [maiden, {"use": "nickname", "text": "T"}, {"use": "official", "family": "Nguyen", "given": ["Thanh"]}],
    }
    doctor = {"resourceType": "Practitioner", "id": "d", "name": [{"family": "Jones", "given": ["Robert"]}]}
    tube = {"resourceType": "Specimen", "id": "s", "type": {"text": "EDTA blood"},
            "collection": {"collectedDateTime": "2026-04-08T09:00:00Z", "collector": {"display": "Ash"}}}  # fmt: skip
    made = valid(send(order(
        identifier=[typed("PLAC", "PL-1"), typed("ACSN", "E-7")], contained=[person, doctor, tube],
        requester={"reference": "#d"}, specimen=[{"reference": "#s"}], locationReference=[{"display": "Ward 3"}],
        reasonCode=[{"coding": [{"display": "Fever"}]}],
    )), 201)  # fmt: skip
    case = Case.objects.get()
    assert (case.accession_number, case.placer_number, case.ward) == ("E-7", "PL-1", "Ward 3")
    assert (case.patient.mrn, case.patient.name, case.requester) == ("M-9", "Nguyen, Thanh", "Jones, Robert")
    assert (case.specimen_type, case.collector, case.collected_at.hour) == ("EDTA blood", "Ash", 9)
    assert case.clinical_note == "Fever\nBlasts?"
    assert made["identifier"] == [typed("PLAC", "PL-1"), typed("ACSN", "E-7")]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"code": {"coding": [{"system": "http://loinc.org", "code": "58410-2"}]}}, 422, "invalid"),
        ({"code": {"coding": [{"system": "urn:local", "code": "24318-8"}]}}, 422, "invalid"),
        ({"code": {"coding": [{"code": "24318-8"}]}}, 422, "invalid"),
        ({"code": "film"}, 400, "invalid"),
        ({"subject": {"reference": "Patient/999"}}, 404, "not-found"),
        ({"subject": {"reference": "#q"}}, 400, "invalid"),
        ({"identifier": []}, 400, "invalid"),
        ({"identifier": [{"value": "Ä\n"}]}, 400, "invalid"),
        ({"status": "draft"}, 400, "invalid"),
        ({"resourceType": "Patient"}, 400, "invalid"),
        ({"authoredOn": "yesterday"}, 400, "invalid"),
        ({"authoredOn": "2099-01-01T08:00:00Z"}, 400, "invalid"),
        ({"priority": ["stat"], "contained": "p"}, 400, "invalid"),
        ({"priority": "STAT"}, 400, "invalid"),
        ({"doNotPerform": True}, 400, "invalid"),
        ({"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}, 400, "invalid"),
        ({"authoredOn": "0001-01-01T00:00:00+14:00"}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen", "given": True}]}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen", "given": [1]}]}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": {}, "given": []}]}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen"}], "gender": "weiblich"}]}, 400, "invalid"),
        ({"contained": [PERSON | {"name": [{"family": "Nguyen"}]}] * 2}, 400, "invalid"),
        ({"identifier": [{"value": ["E-7"]}]}, 400, "invalid"),
        ({"note": {"text": "Blasts?"}}, 400, "invalid"),
        ({"note": ["Blasts?"]}, 400, "invalid"),
        ({"note": [{"text": ["Blasts?"]}]}, 400, "invalid"),
        ({"note": [{"text": "x" * 4001}]}, 400, "invalid"),
        ({"requester": "Jones"}, 400, "invalid"),
        ({"requester": {"display": {"text": "Jones"}}}, 400, "invalid"),
        ({"authoredOn": 20261101}, 400, "invalid"),
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
     ("Patient/1-a", 404, "not-found"), ("Observation", 400, "invalid"), ("Patient/1/_history", 404, "not-found")],
)  # fmt: skip
def test_unknown_addresses_are_outcomes_too(read, make_case, address, status, code):
    make_case()
    refused(read(address), status, code)
    refused(read("Patient?a%00=1"), 400, "structure")  # before any view: it was a page


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
    assert resources["Media"] == {"read", "search-type"}
