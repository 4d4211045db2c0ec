"""Two records of one person: merged and undone by two persons, nothing signed is rewritten (S4, S5, S9)."""

import itertools
import json
import time
from datetime import date, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases import merging
from leukoweb.cases.duplicates import (
    NEAR_NUMBER,
    SAME_NUMBER,
    SAME_PERSON,
    Known,
    duplicates_of,
    is_near,
    likely_pairs,
    not_same_person,
)
from leukoweb.cases.models import Case, Patient, PatientMerge
from leukoweb.cases.services import register_case
from leukoweb.refusals import Refused
from leukoweb.review.models import Report
from leukoweb.review.reports.ledger import problems_of_report
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.services import previous_result
from tests.conftest import PASSWORD
from tests.fhir_schema import problems_of as problems_of_resource
from tests.test_api import caller  # noqa: F401  a fixture
from tests.test_reports import NORMAL, post_signature, reviewed  # noqa: F401  a fixture


@pytest.fixture
def kept(laboratory):
    return Patient.objects.create(laboratory=laboratory, mrn="M-1", name="Doe, Jane", sex="F", birth_date="1961-05-04")


@pytest.fixture
def ended(laboratory):
    return Patient.objects.create(laboratory=laboratory, mrn="M-2", name="Roe, Jane", sex="F", birth_date="1961-05-04")


@pytest.fixture
def merge(kept, ended, technologist, admin):
    """M-2 is merged into M-1."""

    def act(kept=kept, ended=ended):
        proposed = merging.propose_merge(kept=kept, ended=ended, by=technologist, reason="Married.")
        return merging.approve_merge(proposed, by=admin)

    return act


def test_one_person_proposes_and_another_one_approves(kept, ended, technologist, admin, make_case):
    case = make_case("A-2", patient=ended, flag_level=0)
    proposed = merging.propose_merge(kept=kept, ended=ended, by=admin, reason="Married.")
    assert proposed.state == "proposed"
    assert Patient.objects.get(pk=ended.pk).person == ended
    with pytest.raises(Refused, match="You proposed this yourself"):
        merging.approve_merge(proposed, by=admin)
    with pytest.raises(Refused, match="administrator approves"):
        merging.approve_merge(proposed, by=technologist)
    other = type(admin).objects.create_user("abe", role="admin", laboratory=admin.laboratory)
    assert merging.approve_merge(proposed, by=other).state == "merged"
    assert Patient.objects.get(pk=ended.pk).person == kept
    case.refresh_from_db()
    assert (case.patient_id, case.flag_level) == (ended.pk, None)
    assert list(Event.objects.filter(case_id=case.pk).values_list("action", flat=True)) == ["merge.approve"]
    with pytest.raises(Refused, match="decided this meanwhile"):
        merging.approve_merge(proposed, by=other)


def test_what_cannot_be_is_refused_in_a_sentence(kept, ended, merge, technologist, admin, laboratory, other_laboratory):
    def propose(one, other, reason="x"):
        return merging.propose_merge(kept=one, ended=other, by=technologist, reason=reason)

    foreign = Patient.objects.create(laboratory=other_laboratory, mrn="M-9", name="X")
    third = Patient.objects.create(laboratory=laboratory, mrn="M-3", name="Doe, J")
    with pytest.raises(Refused, match="with itself"):
        propose(kept, kept)
    with pytest.raises(Refused, match="different laboratories"):
        propose(kept, foreign)
    with pytest.raises(Refused, match="Enter why"):
        propose(kept, ended, " ")
    waiting = propose(kept, ended)
    with pytest.raises(Refused, match="is already waiting"):
        propose(third, ended)
    merging.decline_merge(waiting, by=technologist, reason="Typed wrongly.")
    merge()
    with pytest.raises(Refused, match="circle"):
        propose(ended, kept)
    with pytest.raises(Refused, match="merged into another record already"):
        propose(third, ended)
    with pytest.raises(Refused, match="propose the merge into that one"):
        propose(ended, third)


def test_two_proposals_that_close_a_circle_are_not_both_approved(kept, ended, technologist, admin):
    one = merging.propose_merge(kept=kept, ended=ended, by=technologist, reason="x")
    other = merging.propose_merge(kept=ended, ended=kept, by=technologist, reason="x")
    merging.approve_merge(one, by=admin)
    with pytest.raises(Refused, match="circle"):
        merging.approve_merge(other, by=admin)


def test_a_chain_stands_for_one_person_and_undoing_a_link_restores_both_sides(
    kept, ended, merge, laboratory, technologist, admin, make_case
):
    third = Patient.objects.create(laboratory=laboratory, mrn="M-3", name="Doe, J")
    case = make_case("A-3", patient=third)
    first = merge(ended, third)
    second = merge(kept, ended)
    assert {p.person.pk for p in Patient.objects.all()} == {kept.pk}
    assert sorted(kept.other_mrns) == ["M-2", "M-3"]
    assert Event.objects.filter(action="merge.approve", case_id=case.pk).count() == 2
    merging.propose_undo(second, by=technologist, reason="Two persons.")
    merging.approve_undo(second, by=admin)
    assert {p.mrn: p.person.mrn for p in Patient.objects.all()} == {"M-1": "M-1", "M-2": "M-2", "M-3": "M-2"}
    merging.propose_undo(first, by=technologist, reason="Two persons.")
    merging.approve_undo(first, by=admin)
    assert not Patient.objects.exclude(survivor=None).exists()


def test_undoing_needs_two_persons_and_restores_every_row(kept, ended, merge, make_case, technologist, admin):
    make_case("A-2", patient=ended)
    before = [list(Patient.objects.order_by("pk").values()), list(Case.objects.order_by("pk").values())]
    done = merge()
    merging.propose_undo(done, by=admin, reason="Twins.")
    with pytest.raises(Refused, match="proposed this yourself"):
        merging.approve_undo(done, by=admin)
    merging.decline_undo(done, by=admin, reason="No, after all.")
    merging.propose_undo(done, by=technologist, reason="Twins.")
    assert merging.approve_undo(done, by=admin).state == "undone"
    assert [list(Patient.objects.order_by("pk").values()), list(Case.objects.order_by("pk").values())] == before
    assert merge().state == "merged"


@pytest.mark.slow
def test_nothing_signed_is_rewritten_and_later_reports_print_both_numbers(
    reviewed, kept, ended, merge, sign_in, pathologist  # noqa: F811
):  # fmt: skip
    client = sign_in(pathologist)
    yesterday = timezone.now() - timedelta(days=1)
    old = reviewed(NORMAL, "A-1", patient=ended, received_at=yesterday)
    post_signature(client, old)
    before = Report.objects.get(case=old)
    new = reviewed(NORMAL, "A-2", patient=kept)
    assert previous_result(new) is None
    merge()
    assert previous_result(Case.objects.get(pk=new.pk))["accession_number"] == "A-1"
    after = Report.objects.get(case=old)
    assert (after.content, after.seal) == (before.content, before.seal)
    page = client.get(reverse("report_detail", args=[after.pk])).content.decode()
    assert "M-2" in page
    assert "M-1" not in page
    assert post_signature(client, new).status_code == 302
    report = Report.objects.get(case=new)
    assert report.content["patient"]["other_mrns"] == ["M-2"]
    assert "also M-2" in client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert problems_of(client.get(reverse("report_export", args=[report.pk, "bundle"])).content) == []
    for patient in (kept, ended):
        answer = client.get(reverse("patient_detail", args=[patient.pk]))
        assert [r.case.accession_number for r, _ in answer.context["rows"]] == ["A-2", "A-1"]
        assert "MRN</span> M-1 (also M-2)" in answer.content.decode()
    client.post(reverse("report_amend", args=[after.pk]), {"reason": "Merged."})
    assert post_signature(client, old).status_code == 302
    amended = Report.objects.get(case=old, version=2)
    assert (amended.content["patient"]["mrn"], amended.content["patient"]["name"]) == ("M-1", "Doe, Jane")
    assert {"what": "MRN", "before": "M-2", "now": "M-1"} in amended.content["amendment"]["changes"]
    assert [problems_of_report(one) for one in Report.objects.all()] == [[], [], []]


def test_either_number_finds_the_cases_of_both(kept, ended, merge, make_case, sign_in, technologist):
    make_case("A-1", patient=kept)
    make_case("A-2", patient=ended)
    client = sign_in(technologist)

    def found(text):
        client.post(reverse("case_list"), {"search": text})
        return {case.accession_number for case in client.get(reverse("case_list")).context["page"].cases}

    assert (found("M-1"), found("M-2"), found("roe")) == ({"A-1"}, {"A-2"}, {"A-2"})
    merge()
    assert found("M-1") == found("M-2") == found("roe") == {"A-1", "A-2"}


def test_the_case_shows_the_record_that_stays_and_the_number_it_was_registered_under(
    kept, ended, merge, make_case, sign_in, technologist
):
    case = make_case("A-2", patient=ended)
    merge()
    client = sign_in(technologist)
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Doe, Jane" in page
    assert "Registered under MRN M-2, Roe, Jane" in page
    said = client.get(reverse("api_case_by_id", args=[case.pk])).json()
    assert (said["patient"]["mrn"], said["registered_mrn"]) == ("M-1", "M-2")
    new = register_case(by=technologist, mrn="M-2", patient={"name": "Doe, Jane"}, case={"accession_number": "A-3"})
    assert new.patient == ended


def test_fhir_shows_the_surviving_record_with_its_links(kept, ended, merge, make_case, sign_in, technologist):
    case = make_case("A-2", patient=ended)
    merge()
    client = sign_in(technologist)

    def get(kind, key):
        resource = client.get(reverse("fhir_resource", args=[kind, key])).json()
        assert problems_of_resource(resource) == []
        return resource

    assert get("ServiceRequest", case.pk)["subject"]["reference"] == f"Patient/{kept.pk}"
    assert get("Patient", ended.pk)["active"] is False
    assert get("Patient", ended.pk)["link"][0] == {"other": {"reference": f"Patient/{kept.pk}"}, "type": "replaced-by"}
    assert get("Patient", kept.pk)["identifier"] == [{"value": "M-1"}, {"use": "old", "value": "M-2"}]
    answer = client.post(
        reverse("fhir_search", args=["Patient"]), json.dumps({"identifier": "M-2"}), "application/json"
    )
    assert [one["resource"]["id"] for one in answer.json()["entry"]] == [str(kept.pk)]
    for patient in (kept, ended):
        found = client.get(reverse("fhir_type", args=["ServiceRequest"]), {"patient": patient.pk}).json()
        assert found["total"] == 1


def test_the_page_proposes_approves_and_undoes_by_two_persons(kept, ended, sign_in, technologist, admin, client):
    form = {"kept": "M-1", "ended": "M-2", "reason": "Married."}
    sign_in(technologist).post(reverse("merge_propose"), form)
    assert "no patient with this MRN" in client.post(
        reverse("merge_propose"), form | {"ended": "M-77"}, follow=True
    ).content.decode()  # fmt: skip
    merge = PatientMerge.objects.get()
    page = client.get(reverse("merge_list")).content.decode()
    assert "An administrator other than the proposer must approve it." in page
    assert "Approve the merge" not in page
    page = sign_in(admin).get(reverse("merge_list")).content.decode()
    assert "Different:" in page
    assert "Approve the merge" in page
    address = reverse("merge_decide", args=[merge.pk])
    client.post(address, {"act": "approve"})
    assert PatientMerge.objects.get().state == "merged"
    client.post(address, {"act": "propose_undo", "reason": "Twins."})
    assert "You proposed this yourself" in client.post(address, {"act": "approve_undo"}, follow=True).content.decode()
    assert "Choose what is to be done" in client.post(address, {"act": "x"}, follow=True).content.decode()


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("M-100", "M-101", True),
        ("M-100", "M-10", True),
        ("M-100", "M-1000", True),
        ("M-100", "M-010", True),
        ("M-100", "1M-00", False),
        ("M-100", "M-211", False),
        ("M-100", "M-100", False),
        ("M-100", "N-101", False),
        ("", "1", True),
        ("12", "1234", False),
    ],
)
def test_numbers_are_near_by_one_character_or_two_neighbours_swapped(one, other, near):
    assert is_near(one, other) is is_near(other, one) is near


def test_the_finder_names_likely_pairs_until_somebody_decides(laboratory, admin, technologist, other_laboratory):
    def patient(mrn, name, born="1961-05-04", lab=laboratory):
        return Patient.objects.create(laboratory=lab, mrn=mrn, name=name, birth_date=born)

    first, second = patient("M-1", "Nguyễn, Văn"), patient("X-7", "nguyen van")
    near = patient("M-2", "Doe, Jane")
    patient("M-3", "Roe, John", "1970-01-01")
    patient("M-1", "Nguyễn, Văn", lab=other_laboratory)
    patient("m-3", "Roe, Paula", None)
    found = [({p.first.mrn, p.second.mrn}, p.why) for p in duplicates_of(laboratory)]
    assert found == [({"M-3", "m-3"}, SAME_NUMBER), ({"M-1", "X-7"}, SAME_PERSON), ({"M-1", "M-2"}, NEAR_NUMBER)]
    with pytest.raises(Refused, match="administrator"):
        not_same_person(first, near, by=technologist, reason="x")
    with pytest.raises(Refused, match="two persons"):
        not_same_person(first, near, by=admin, reason=" ")
    with pytest.raises(Refused, match="two records of your laboratory"):
        not_same_person(first, first, by=admin, reason="x")
    not_same_person(near, first, by=admin, reason="Twins.")
    assert not_same_person(first, near, by=admin, reason="Again.").reason == "Twins."
    merging.propose_merge(kept=first, ended=second, by=technologist, reason="One person.")
    assert [p.why for p in duplicates_of(laboratory)] == [SAME_NUMBER]
    assert Event.objects.filter(action="merge.not_same").count() == 1


def test_administrators_see_the_pairs_and_say_that_two_are_two(kept, laboratory, sign_in, admin, technologist, client):
    twin = Patient.objects.create(laboratory=laboratory, mrn="Q-1", name="Jane, Doe", birth_date="1961-05-04")
    assert "may be one person" not in sign_in(technologist).get(reverse("merge_list")).content.decode()
    page = sign_in(admin).get(reverse("merge_list")).content.decode()
    assert "same name and birth date" in page
    assert "merge Q-1 into M-1" in page
    form = {"kept": "M-1", "ended": twin.mrn, "reason": "Twins of one name."}
    assert client.post(reverse("merge_two_persons"), form).status_code == 302
    assert "No possible duplicates." in client.get(reverse("merge_list")).content.decode()


@pytest.mark.slow
def test_thousands_of_records_are_compared_within_a_second():
    days = [date(1930 + n % 90, 1 + n % 12, 1 + n % 28) for n in range(5_000)]
    records = [Known(n, f"M-{n * 7919:09d}", f"name {n}", born) for n, born in enumerate(days)]
    began = time.process_time()
    assert sum(1 for _ in itertools.islice(likely_pairs(records), 200)) < 200
    assert time.process_time() - began < 1


def test_programs_merge_and_undo_by_two_persons_as_the_page_does(kept, ended, technologist, admin, outsider, caller):  # noqa: F811
    one, other, foreign = caller(technologist), caller(admin), caller(outsider)
    asked = {"kept": "M-1", "ended": "M-2", "reason": "Married."}
    made = one.post("/api/v1/patient-merges/", asked, format="json")
    assert (made.status_code, made.json()["state"], made.json()["differences"]) == (201, "proposed", ["name"])
    address = f"/api/v1/patient-merges/{made.json()['id']}/decision/"

    def decide(by, act, **more):
        answer = by.post(address, {"act": act, **more}, format="json")
        return answer.status_code, answer.json().get("state") or answer.json()["code"]

    assert decide(one, "approve") == (403, "not_allowed")
    assert decide(foreign, "approve") == (404, "not_found")
    assert decide(other, "merge") == (400, "invalid")
    assert decide(other, "approve") == (200, "merged")
    assert Patient.objects.get(pk=ended.pk).person == kept
    assert decide(other, "approve") == (409, "wrong_state")
    assert decide(other, "propose_undo") == (400, "invalid")
    assert decide(other, "propose_undo", reason="Twins.") == (200, "undo_proposed")
    assert decide(other, "approve_undo") == (403, "not_allowed")
    assert decide(one, "decline_undo", reason="No.") == (403, "not_allowed")
    abe = type(admin).objects.create_user("abe", password=PASSWORD, role="admin", laboratory=admin.laboratory)
    assert decide(caller(abe), "approve_undo") == (200, "undone")
    assert Patient.objects.get(pk=ended.pk).person == ended
    [listed] = one.get("/api/v1/patient-merges/").json()["results"]
    assert (listed["undone_by"], listed["is_waiting"], listed["ended"]["mrn"]) == ("abe", False, "M-2")
    assert foreign.get("/api/v1/patient-merges/").json()["count"] == 0
    refused = foreign.post("/api/v1/patient-merges/", asked, format="json")
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["kept"])
    assert {"merge.propose", "merge.approve", "merge.propose_undo", "merge.undo", "merge.read"} <= set(
        Event.objects.values_list("action", flat=True)
    )
