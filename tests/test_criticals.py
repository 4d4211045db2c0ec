"""Critical results: detected once, seen, told with read-back, closed, escalated and printed (rules C7, S4, S12)."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.services import reject_case
from leukoweb.delivery.results import result_message
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import current_cells, relabel_cell, relabel_cells, undo_last
from leukoweb.review.criticals.calls import close_critical, give_receipt, record_call
from leukoweb.review.criticals.escalation import escalate
from leukoweb.review.criticals.models import Critical, CriticalEntry
from leukoweb.review.criticals.policies import save_critical_policy
from leukoweb.review.criticals.rules import defaults
from leukoweb.review.models import Report
from leukoweb.review.reports.files import bundle_text
from leukoweb.review.reports.ledger import general_problems
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.tasks import store_flags
from leukoweb.review.urgency import keep_flags
from tests.test_reports import NORMAL, acknowledge, post_signature, reviewed  # noqa: F401  a fixture

pytestmark = pytest.mark.slow

BLASTS = {**NORMAL, "MYO": 12}


def call(critical, by, **changes):
    given = {"told_to": "Dr Ida Mole", "told_role": "ward physician", "how": "phone", "is_reached": True,
             "is_read_back": True}  # fmt: skip
    return record_call(critical, by=by, **{**given, **changes})


def policy(laboratory, admin, **changes):
    given = {"rules": defaults(), "minutes": 10, "people": [], "webhook": "", "exception_days": 90, "reason": "Ours"}
    return save_critical_policy(laboratory, by=admin, **{**given, **changes})


@pytest.fixture
def blasts(reviewed, laboratory):  # noqa: F811
    """A reviewed case with blasts, and its critical result."""
    return Critical.objects.get(case=reviewed(BLASTS), key="blasts")


def count(value, key="PLT", unit="10*9/L", *, is_final=True):
    return BloodCount("XN", timezone.now() - timedelta(minutes=1), is_final, (value_of(key, value, unit),))


def test_a_critical_fact_is_detected_once_with_its_value_also_after_many_changes(make_case, make_slide, technologist):
    """After the analysis by the worker, and not again after decisions that leave it critical."""
    case = make_case()
    make_slide(case, BLASTS)
    store_flags()
    critical = Critical.objects.get(case=case)
    assert critical.fact["sentence"] == "Blasts: 12 cells counted of 112 leukocytes."
    assert (critical.fact["value"], critical.fact["is_machine_only"], critical.fact["code"]) == (12, True, "AA")
    cells = [cell for cell in current_cells(case) if cell.code == "MYO"]
    relabel_cell(cells[0], to="NGS", by=technologist)
    keep_flags(case)
    store_flags()
    assert Critical.objects.get(case=case).fact["value"] == 12
    assert Event.objects.filter(action="critical.detect", case_id=case.pk).count() == 1


def test_a_value_that_is_no_longer_critical_is_closed_with_a_link_to_the_change_and_a_new_one_is_a_new_fact(
    make_case, make_slide, technologist
):
    case = make_case()
    make_slide(case, {**NORMAL, "MYO": 1})
    store_flags()
    blast = current_cells(case).get(detector_code="MYO")
    decision = relabel_cell(blast, to="LYT", by=technologist)
    critical = Critical.objects.get(case=case)
    assert not critical.is_open
    assert critical.no_longer.change["decision"] == decision.pk
    assert critical.no_longer.change["cell"] == blast.pk
    undo_last(case, by=technologist)
    assert list(Critical.objects.filter(case=case).values_list("key", "number")) == [("blasts", 1), ("blasts", 2)]
    assert Critical.objects.filter(case=case).open().count() == 1


def test_a_blood_count_of_an_open_case_is_critical_by_the_reported_run(make_case, technologist):
    case = make_case()
    store_blood_count(case, count("12"), by=technologist)
    store_flags()
    critical = Critical.objects.get(case=case)
    assert (critical.key, critical.fact["value"], critical.fact["code"]) == ("platelets_low", 12, "LL")
    store_blood_count(case, count("220"), by=technologist)
    store_flags()
    critical = Critical.objects.get(case=case)
    assert critical.no_longer.change["what"] == "cbc.receive"


@pytest.mark.parametrize(
    ("sent", "critical"),
    [("<30", False), ("<10", True), (">10", False), ("19", True), ("20", False), ("----", False)],
)
def test_a_bound_of_an_analyser_is_critical_only_on_its_own_side_of_the_limit(make_case, technologist, sent, critical):
    case = make_case()
    store_blood_count(case, count(sent, unit="10*9/L"), by=technologist)
    store_flags()
    assert Critical.objects.filter(case=case).exists() is critical


def test_first_time_only_leaves_out_what_was_critical_for_the_same_patient_in_those_days(
    make_case, make_slide, laboratory, admin
):
    first = make_case("A-1")
    make_slide(first, BLASTS)
    store_flags()
    second = make_case("A-2")
    make_slide(second, BLASTS)
    store_flags()
    assert [c.case for c in Critical.objects.all()] == [first]
    policy(laboratory, admin, rules=[{**row, "first_only_days": 0} for row in defaults()])
    store_flags()
    assert {c.case for c in Critical.objects.all()} == {first, second}


def test_a_critical_blood_count_that_comes_after_the_signature_is_raised_once_and_the_report_stays_as_it_was(
    reviewed, sign_in, technologist, pathologist  # noqa: F811
):  # fmt: skip
    case, client = reviewed(NORMAL), sign_in(pathologist)
    post_signature(client, case)
    store_blood_count(case, count("5", is_final=False), by=technologist)
    store_flags()
    assert not Critical.objects.exists()
    store_blood_count(case, count("5"), by=technologist)
    store_flags()
    store_flags()
    critical, report = Critical.objects.get(), Report.objects.get()
    assert (critical.key, critical.is_open, "criticals" in report.content) == ("platelets_low", True, False)
    assert client.get(reverse("worklist")).context["open_criticals"] == 1
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Platelets: 5 × 10⁹/L (analyser)." in page
    assert "newer CBC arrived after the signature" in page
    assert general_problems() == []
    call(critical, technologist)
    amend_report(report, by=pathologist, reason="Platelets of the analyser.")
    assert Critical.objects.get().told is not None


def test_a_rejected_specimen_ends_its_critical_results(blasts, technologist):
    reject_case(blasts.case, by=technologist, code="RC", reason="Clotted.")
    escalate()
    assert Critical.objects.get(pk=blasts.pk).no_longer.change["what"] == "case.reject"


def test_receipts_of_bench_and_pathologist_leave_it_open_and_the_case_urgent(blasts, technologist, pathologist):
    """C7: no receipt ends it; the first one of each kind is kept."""
    for person in (technologist, technologist, pathologist):
        give_receipt(blasts, by=person)
    critical = Critical.objects.get(pk=blasts.pk)
    assert [entry.kind for entry in critical.receipts] == ["bench", "pathologist"]
    assert critical.is_open
    critical.case.refresh_from_db()
    assert critical.case.flag_level == 3
    assert critical.case.flags[0]["title"] == "Critical: Blasts"


def test_an_acknowledged_flag_is_the_receipt_of_the_critical_result_of_the_same_cells(blasts, sign_in, pathologist):
    acknowledge(sign_in(pathologist), blasts.case)
    assert Critical.objects.get(pk=blasts.pk).pathologist_receipt.by == pathologist


def test_a_call_that_cannot_be_is_refused_and_leaves_no_line(blasts, technologist):
    """An empty name, a call before the value was known, a read-back by nobody."""
    now = timezone.now()
    for changes, field in (
        ({"told_to": "  "}, "told_to"),
        ({"told_to": "x" * 201}, "told_to"),
        ({"told_role": ""}, "told_role"),
        ({"how": "pigeon"}, "how"),
        ({"is_reached": False, "is_read_back": True}, "is_read_back"),
        ({"told_at": now - timedelta(minutes=30)}, "told_at"),
        ({"told_at": now + timedelta(minutes=30)}, "told_at"),
    ):
        with pytest.raises(Refused) as refused:
            call(blasts, technologist, **changes)
        assert set(refused.value.fields) == {field}
        assert not CriticalEntry.objects.filter(kind="call").exists()


def test_nobody_calls_about_cells_that_only_the_detector_has_seen(make_case, make_slide, technologist):
    case = make_case()
    make_slide(case, BLASTS)
    store_flags()
    with pytest.raises(Refused, match="No person has confirmed"):
        call(Critical.objects.get(case=case), technologist)


def test_only_a_read_back_closes_it_without_a_reason_and_without_one_only_a_pathologist(
    blasts, technologist, pathologist
):
    call(blasts, technologist, is_reached=False, is_read_back=False)
    call(blasts, technologist, is_read_back=False)
    with pytest.raises(Refused, match="ask a pathologist"):
        close_critical(blasts, by=technologist, reason="Done.")
    with pytest.raises(Refused, match="enter why"):
        close_critical(blasts, by=pathologist)
    assert Critical.objects.get(pk=blasts.pk).is_open
    call(blasts, technologist)
    close_critical(blasts, by=technologist)
    critical = Critical.objects.get(pk=blasts.pk)
    assert not critical.is_open
    assert [c.is_read_back for c in critical.calls] == [False, False, True]
    with pytest.raises(Refused, match="closed already"):
        close_critical(blasts, by=pathologist, reason="Twice.")
    critical.case.refresh_from_db()
    assert not any(flag["key"] == "critical" for flag in critical.case.flags)


def test_another_laboratory_an_administrator_and_a_stranger_do_nothing(blasts, admin, outsider):
    for person in (admin, outsider):
        for act in (give_receipt, call, close_critical):
            with pytest.raises(Refused):
                act(blasts, by=person)


def test_the_database_refuses_to_change_the_log(blasts, technologist):
    """S4: write-once, whoever holds the connection."""
    call(blasts, technologist)
    for change in (
        lambda: Critical.objects.update(title="x"),
        lambda: CriticalEntry.objects.update(kind="closed"),
        lambda: Critical.objects.all()._raw_delete("default"),
        lambda: CriticalEntry.objects.all()._raw_delete("default"),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    assert general_problems() == []


def signed_with_call(blasts, sign_in, pathologist, technologist):
    call(blasts, technologist)
    client = sign_in(pathologist)
    acknowledge(client, blasts.case)
    close_critical(blasts, by=pathologist)
    assert post_signature(client, blasts.case).status_code == 302
    return Report.objects.get(case=blasts.case), client


def test_the_report_seals_the_call_prints_it_and_keeps_it_when_a_later_call_follows(
    blasts, sign_in, pathologist, technologist
):
    """S5: what was signed stays; a later call is in the log beside it."""
    report, client = signed_with_call(blasts, sign_in, pathologist, technologist)
    sealed = report.content["criticals"][0]
    assert (sealed["title"], sealed["calls"][0]["to"]) == ("Blasts", "Dr Ida Mole")
    assert problems_of(bundle_text(report, report.content).encode()) == []
    call(blasts, technologist, told_to="Dr Second Doctor")
    report.refresh_from_db()
    assert [c["to"] for c in report.content["criticals"][0]["calls"]] == ["Dr Ida Mole"]
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "Told to Dr Ida Mole, ward physician" in page
    assert "read back" in page
    assert "Dr Second Doctor" not in page
    tampered = json.loads(bundle_text(report, report.content))
    tampered["content"]["criticals"][0]["calls"][0]["to"] = "Nobody"
    assert "criticals" in " ".join(problems_of(json.dumps(tampered).encode()))


def test_a_report_without_a_critical_result_has_no_such_section(reviewed, sign_in, pathologist):  # noqa: F811
    post_signature(sign_in(pathologist), reviewed(NORMAL))
    assert "criticals" not in Report.objects.get().content


def test_a_platelet_count_that_no_pathologist_has_acknowledged_holds_the_signature(
    reviewed, sign_in, technologist, pathologist  # noqa: F811
):  # fmt: skip
    case = reviewed(NORMAL)
    store_blood_count(case, count("9"), by=technologist)
    store_flags()
    client = sign_in(pathologist)
    give_receipt(Critical.objects.get(), by=technologist)
    assert "must acknowledge the critical result: Platelets low" in post_signature(client, case).content.decode()
    client.post(reverse("critical_receipt", args=[Critical.objects.get().pk]))
    assert post_signature(client, case).status_code == 302
    text = client.get(reverse("report_detail", args=[Report.objects.get().pk])).content.decode()
    assert "Not yet told to the requester" in text


def test_the_result_message_carries_the_code_of_the_table_and_the_call(blasts, sign_in, pathologist, technologist):
    report, _ = signed_with_call(blasts, sign_in, pathologist, technologist)
    lines = result_message(report, control_id="1", zone_time=timezone.localtime()).decode().split("\r")
    assert any(line.startswith("NTE") and "Told to Dr Ida Mole (ward physician)" in line for line in lines)
    figures = [line.split("|") for line in lines if line[:3] == "OBX" and "|NM|" in line and "99LW" in line]
    interpretations = {fields[3].split("^")[3]: fields[8] for fields in figures}
    assert interpretations["blasts"] == "AA"
    assert set(interpretations.values()) <= {"AA", "", "N", "H", "L"}


def test_the_pages_show_it_red_with_minutes_and_take_a_call(blasts, sign_in, technologist):
    client = sign_in(technologist)
    page = client.get(reverse("critical_list")).content.decode()
    assert "Edelgard Wintermute" in page
    address = reverse("critical_call", args=[blasts.pk])
    form = {"told_to": "Dr Ida Mole", "told_role": "ward physician", "how": "phone", "outcome": "read_back"}
    assert "Name of the person" in client.post(address, {**form, "told_to": ""}, follow=True).content.decode()
    assert "The call is recorded." in client.post(address, form, follow=True).content.decode()
    page = client.get(reverse("case_detail", args=[blasts.case_id])).content.decode()
    assert "Told to Dr Ida Mole" in page
    assert "Close critical result" in page
    assert 'href="/criticals/"' in client.get(reverse("worklist")).content.decode()


def test_the_share_told_within_thirty_minutes_counts_the_first_call_that_reached_somebody(
    make_case, make_slide, sign_in, technologist, laboratory, admin, monkeypatch
):
    policy(laboratory, admin, rules=[{**row, "first_only_days": 0} for row in defaults()])
    now = timezone.now()
    for name, told in (("A-1", 10), ("A-2", 30), ("A-3", 45), ("A-4", None)):
        case = make_case(name)
        critical = Critical.objects.create(case=case, key="blasts", number=1, title="Blasts", policy_version=1,
                                           fact={"sentence": "=Blasts", "codes": []},
                                           detected_at=now - timedelta(minutes=60))  # fmt: skip
        call(critical, technologist, is_reached=False, is_read_back=False, told_at=critical.detected_at)
        if told is not None:
            call(critical, technologist, told_at=critical.detected_at + timedelta(minutes=told))
    gone = Critical.objects.create(case=make_case("A-5"), key="blasts", number=1, title="Blasts", policy_version=1,
                                   fact={"sentence": "x", "codes": []}, detected_at=now)  # fmt: skip
    CriticalEntry.objects.create(critical=gone, kind="no_longer", change={"what": "policy"})
    client = sign_in(technologist)
    told = client.get(reverse("critical_list")).context["told"]
    assert (told.total, told.within, told.later, told.never, told.median) == (4, 2, 1, 1, 30)
    assert "50.0%" in client.get(reverse("critical_list")).content.decode()
    rows = list(csv.DictReader(io.StringIO(client.get(reverse("critical_csv")).content.decode("utf-8-sig"))))
    assert [row["minutes"] for row in rows] == ["10", "30", "45", "", ""]
    assert rows[0]["value"] == "'=Blasts"
    assert "Wintermute" not in client.get(reverse("critical_csv")).content.decode()
    wrong = {"first": "2026-02-01", "last": "2026-01-01"}, {"first": "yesterday"}, {"first": "9999-12-31"}
    for period, words in zip(wrong, ("ends before it begins", "Enter a valid date", "before 2200")):
        assert words in client.get(reverse("critical_list"), period).content.decode()


def test_the_interface_for_programs_lists_the_open_ones(blasts, sign_in, technologist, outsider):
    call(blasts, technologist)
    found = sign_in(technologist).get(reverse("api_criticals")).json()["results"]
    assert [(c["title"], c["is_read_back"], c["calls"][0]["told_to"]) for c in found] == [
        ("Blasts", True, "Dr Ida Mole")
    ]
    close_critical(blasts, by=technologist)
    assert sign_in(technologist).get(reverse("api_criticals")).json()["count"] == 0
    assert sign_in(technologist).get(reverse("api_criticals"), {"state": "all"}).json()["count"] == 1
    assert sign_in(technologist).get(reverse("api_criticals"), {"state": "odd"}).status_code == 400
    assert sign_in(outsider).get(reverse("api_criticals"), {"state": "all"}).json()["count"] == 0


def aged(critical, minutes):
    """The same result, detected earlier: a new row, as none is changed."""
    return Critical.objects.create(
        case=critical.case, key="aged", number=1, title=critical.title, fact=critical.fact, policy_version=0,
        detected_at=timezone.now() - timedelta(minutes=minutes),
    )  # fmt: skip


def test_the_next_person_is_told_after_each_span_until_somebody_was_reached(
    blasts, laboratory, admin, technologist, pathologist
):
    critical = aged(blasts, 15)
    call(blasts, technologist)
    policy(laboratory, admin, people=["tess", "paul"], minutes=20)
    assert (escalate(), escalate()) == (1, 0)
    policy(laboratory, admin, people=["tess", "paul"], minutes=10)
    assert (escalate(), escalate()) == (1, 0)
    assert [e.to.username for e in Critical.objects.get(pk=critical.pk).escalations] == ["tess", "paul"]
    assert not Critical.objects.get(pk=blasts.pk).escalations


def test_a_demonstration_alarms_nobody(blasts, laboratory, admin, technologist):
    policy(laboratory, admin, people=["tess"])
    type(blasts.case).objects.update(is_demonstration=True)
    assert escalate() == 0


def page_of_rules(client):
    page = client.get(reverse("critical_policy_edit"))
    initial = page.context["form"].initial
    form = {name: initial[name] for name in ("minutes", "people", "exception_days")}
    form |= {"webhook": "", "reason": "Our own study"}
    for part in (page.context["limits"].management_form, *page.context["limits"].forms):
        for field in part:
            value = field.value()
            form[field.html_name] = "" if value is None or value is False else value
    return form


def test_an_administrator_edits_limits_and_escalation_as_the_next_version(sign_in, admin, laboratory, technologist):
    client = sign_in(admin)
    form = page_of_rules(client)
    unchanged = client.post(reverse("critical_policy_edit"), form)
    assert "Nothing was changed" in unchanged.content.decode()
    added = len(defaults())
    new = {"title": "Monocytes", "subject": "film.MON.%", "comparison": ">", "limit": "50", "age_from": "6m",
           "first_only_days": "0", "code": "HH", "source": "Our own study", "key": "", "age_under": ""}  # fmt: skip
    form |= {f"limits-{added}-{name}": value for name, value in new.items()} | {"people": "tess\n"}
    assert client.post(reverse("critical_policy_edit"), form).status_code == 302
    stored = laboratory.critical_policies.get()
    late = client.post(reverse("critical_policy_edit"), form | {"seen": "0", "minutes": 7})
    assert "put in force meanwhile" in late.content.decode()
    assert (stored.version, stored.people, stored.rules[-1]["key"]) == (1, ["tess"], "monocytes_50")
    event = Event.objects.get(action="critical.policy")
    assert event.changes["people"] == [[], ["tess"]]
    form = page_of_rules(client)
    for changes, sentence in (
        ({"people": "nobody"}, "no active technologist or pathologist"),
        ({"webhook": "ftp://host/x"}, "Write the address as https"),
        ({f"limits-{added}-age_from": "6 mon"}, "write ages as 3d"),
        ({f"limits-{added}-source": ""}, "required"),
        ({f"limits-{added}-limit": "-1"}, "greater than or equal"),
    ):
        answer = client.post(reverse("critical_policy_edit"), {**form, **changes, "reason": "x"})
        assert sentence in answer.content.decode(), changes
    assert laboratory.critical_policies.count() == 1


def test_every_case_of_the_machinery_of_a_table_is_checked(laboratory, admin):
    rows = defaults()
    wrong = [("subject", "cbc.XYZ"), ("code", "H"), ("limit", True), ("limit", float("nan")), ("key", "a b"),
             ("first_only_days", -1), ("comparison", "=="), ("age_under", "0d"), ("key", rows[1]["key"])]  # fmt: skip
    for change in ({name: value} for name, value in wrong):
        with pytest.raises(Refused):
            policy(laboratory, admin, rules=[{**rows[0], **change}, *rows[1:]])
    with pytest.raises(Refused):
        policy(laboratory, admin, rules=[{"key": "x"}])


def test_cells_of_a_case_are_confirmed_before_the_call_that_the_same_reader_makes(make_case, make_slide, technologist):
    case = make_case()
    make_slide(case, {**NORMAL, "MYO": 1})
    store_flags()
    relabel_cells([current_cells(case).get(detector_code="MYO")], to="MYO", by=technologist)
    assert call(Critical.objects.get(case=case), technologist).minutes == 0
