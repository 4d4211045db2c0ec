"""Critical result exceptions: set for a patient, a limit and some days; what they cover is said, not told."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.models import Patient
from leukoweb.refusals import Refused
from leukoweb.review.criticals.calls import give_receipt
from leukoweb.review.criticals.escalation import escalate
from leukoweb.review.criticals.exceptions import set_exception, withdraw_exception
from leukoweb.review.criticals.models import Critical, CriticalException
from leukoweb.review.models import Report
from leukoweb.review.reports.files import bundle_text
from leukoweb.review.reports.notes import notes_of
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.tasks import escalate_criticals, store_flags
from tests.test_criticals import BLASTS, policy
from tests.test_reports import acknowledge, post_signature, reviewed  # noqa: F401  a fixture


@pytest.fixture
def patient(laboratory):
    """The patient of the cases that make_case makes."""
    return Patient.objects.create(
        laboratory=laboratory, mrn="M-77", name="Edelgard Wintermute", sex="F", birth_date="1961-05-04"
    )


def except_patient(client, patient, **changes):
    given = {"mrn": patient.mrn, "limits": ["blasts"], "until": timezone.localdate() + timedelta(days=30),
             "reason": "Known AML, cycle 2."}  # fmt: skip
    return client.post(reverse("critical_exceptions"), {**given, **changes}, follow=True)


@pytest.mark.slow
def test_an_exception_of_a_patient_covers_the_limits_it_names_and_no_other(
    reviewed, patient, sign_in, technologist, pathologist, laboratory, admin  # noqa: F811
):  # fmt: skip
    """Detected, shown, sealed, and nobody has to be told; a row that allows no exception is told as ever."""
    policy(laboratory, admin, people=["tess"])
    client = sign_in(pathologist)
    assert "The exception applies from now on." in except_patient(client, patient).content.decode()
    assert [c["key"] for c in client.get(reverse("critical_exceptions")).context["rows"]] == [
        "blasts", "neutrophils_low", "platelets_low",
    ]  # fmt: skip
    case = reviewed(BLASTS)
    store_blood_count(case, BloodCount("XN", timezone.now(), True, (value_of("HGB", "60", "g/L"),)), by=technologist)
    store_flags()
    covered, told = Critical.objects.order_by("key").with_log()
    assert (covered.key, covered.is_open, covered.covered.exception.reason) == ("blasts", False, "Known AML, cycle 2.")
    assert (told.key, told.is_open) == ("haemoglobin_low", True)
    assert escalate() == 1
    page = sign_in(technologist).get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Critical, covered by an exception: Blasts." in page
    assert "Known AML, cycle 2." in page
    client = sign_in(pathologist)
    found = {c["title"]: c for c in client.get(reverse("api_criticals"), {"state": "all"}).json()["results"]}
    assert found["Blasts"]["exception"]["reason"] == "Known AML, cycle 2."
    assert found["Haemoglobin low"]["exception"] is None
    acknowledge(client, case)
    give_receipt(told, by=pathologist)
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    sealed = report.content["criticals"][0]
    assert (sealed["title"], sealed["exception"]["reason"], sealed["calls"]) == ("Blasts", "Known AML, cycle 2.", [])
    assert "Need not be told: exception" in client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert any("Covered by exception" in note for note in notes_of(report.content))
    assert problems_of(bundle_text(report, report.content).encode()) == []
    shown = client.get(reverse("critical_list"))
    assert (shown.context["told"].total, len(shown.context["open"])) == (1, 1)
    assert "Known AML" in client.get(reverse("patient_detail", args=[case.patient_id])).content.decode()
    withdraw_exception(CriticalException.objects.get(), by=pathologist, reason="Remission.")
    amend_report(report, by=pathologist, reason="A word.")
    assert Critical.objects.filter(key="blasts").count() == 1  # it was signed as covered


@pytest.mark.slow
def test_an_exception_ends_by_its_day_or_withdrawn_and_then_what_is_not_signed_is_raised(
    make_case, make_slide, patient, laboratory, sign_in, admin
):
    client = sign_in(admin)
    other = Patient.objects.create(laboratory=laboratory, mrn="M-78", name="Otto Winter")
    first, second = make_case("A-1"), make_case("A-2", patient=other)
    for case in (first, second):
        except_patient(client, case.patient)
        make_slide(case, BLASTS)
    store_flags()
    assert Critical.objects.count() == 2
    assert not Critical.objects.open()
    of_second = CriticalException.objects.get(patient=other)
    address = reverse("exception_withdraw", args=[of_second.pk])
    assert "Enter why the exception ends." in client.post(address, follow=True).content.decode()
    client.post(address, {"reason": "In remission."})
    assert "has already ended" in client.post(address, {"reason": "Again."}, follow=True).content.decode()
    CriticalException.objects.filter(patient=patient).update(until=timezone.localdate() - timedelta(days=1))
    escalate_criticals()
    store_flags()
    store_flags()
    assert sorted(Critical.objects.open().values_list("case", "number")) == [(first.pk, 2), (second.pk, 2)]
    ends = Event.objects.filter(action="critical.except_end").order_by("id")
    assert list(ends.values_list("actor", flat=True)) == [admin.pk, None]


@pytest.mark.slow
def test_an_exception_is_refused_in_a_sentence_and_leaves_open_what_was_open(
    reviewed, sign_in, pathologist, technologist, outsider  # noqa: F811
):  # fmt: skip
    client, case = sign_in(pathologist), reviewed(BLASTS)
    today = timezone.localdate()
    for changes, sentence in (
        ({"mrn": "nobody"}, "There is no patient with this MRN"),
        ({"limits": ["haemoglobin_low"]}, "Select a valid choice"),
        ({"limits": []}, "This field is required"),
        ({"reason": " "}, "This field is required"),
        ({"until": ""}, "This field is required"),
        ({"until": today - timedelta(days=1)}, "your laboratory&#x27;s rules allow 90 days"),
        ({"until": today + timedelta(days=91)}, "your laboratory&#x27;s rules allow 90 days"),
    ):
        assert sentence in except_patient(client, case.patient, **changes).content.decode(), changes
    assert "There is no patient with this MRN" in except_patient(sign_in(outsider), case.patient).content.decode()
    client = sign_in(pathologist)
    assert not CriticalException.objects.exists()
    with pytest.raises(Refused, match="Only a pathologist or an administrator"):
        set_exception(case.patient, limits=["blasts"], until=today, reason="Known.", by=technologist)
    except_patient(client, case.patient)
    assert "already has an exception until" in except_patient(client, case.patient).content.decode()
    store_flags()
    assert Critical.objects.get(key="blasts").is_open
