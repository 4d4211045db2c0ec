"""Changes against an earlier result: a laboratory's rules, the mix-up alarm, its answer on paper (C2, S4)."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.counting.delta_rules import change_by, problem_of
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.values import Value
from leukoweb.review.history.alarms import dismiss_alarm, escalate_alarm
from leukoweb.review.history.models import DeltaAlarm
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.release import Condition, unmet_conditions
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.signing import draft_of
from leukoweb.review.services import save_policy
from leukoweb.review.urgency import keep_flags
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, post_signature, reviewed  # noqa: F401  a fixture

HGB = {"key": "hgb", "title": "Haemoglobin", "subject": "cbc.HGB", "direction": "any", "limit": 30, "measure": "amount",
       "span": "72h", "action": "mix_up", "source": "Our own study"}  # fmt: skip
NGS = {**HGB, "key": "ngs", "title": "Neutrophils", "subject": "film.neutrophils.%", "limit": 0, "span": "30d",
       "action": "change"}  # fmt: skip


def value(number, low=None, high=None, text=None):
    return Value("Name", "%", number, text or f"{number:g}", low, high)


@pytest.mark.parametrize(
    ("rule", "now", "before", "change"),
    [
        (HGB, value(110), value(140), -30),
        (HGB, value(111), value(140), None),
        (HGB | {"direction": "up"}, value(110), value(140), None),
        (HGB | {"direction": "down"}, value(110), value(140), -30),
        (HGB | {"measure": "percent", "limit": 20}, value(112), value(140), -28),
        (HGB | {"measure": "percent", "limit": 20}, value(113), value(140), None),
        (HGB | {"measure": "percent"}, value(1), value(0), 1),
        (HGB, value(10, text="<10"), value(140), None),
        (NGS, value(80, 75, 85), value(60, 50, 70), 20),
        (NGS, value(80, 69, 85), value(60, 50, 70), None),
        (NGS | {"limit": 25}, value(80, 75, 85), value(60, 50, 70), None),
        (NGS, value(60, 50, 70), value(60, 50, 70), None),
    ],
)
def test_a_change_is_met_by_limit_direction_and_intervals(rule, now, before, change):
    assert change_by(rule, now, before) == change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"subject": "cbc.XYZ"}, "choose what is compared"),
        ({"limit": 0}, "0 is a limit of percentages"),
        ({"limit": True}, "from 0 to 100,000"),
        ({"span": "3 days"}, "72h or 30d"),
        ({"span": "0h"}, "72h or 30d"),
        ({"action": "stop"}, "action must be one of"),
        ({"source": " "}, "fill in the source"),
        ({"key": "a b"}, "letters, digits"),
    ],
)
def test_a_wrong_rule_is_refused_in_a_sentence(change, sentence):
    assert sentence in problem_of([HGB | change])
    with pytest.raises(Refused, match="Delta rule 1 "):
        rules_from({"delta_rules": [HGB | change]})


def test_no_rule_is_shipped_and_the_same_id_twice_is_refused():
    assert Rules().delta_rules == []
    assert "used twice" in problem_of([HGB, HGB])
    assert "as a list" in problem_of("x")
    assert "must have these fields" in problem_of([{"key": "x"}])
    assert problem_of([HGB, NGS]) == ""


@pytest.fixture
def earlier(reviewed, laboratory, admin, technologist, sign_in, pathologist):  # noqa: F811
    """The rules in force, a signed result of yesterday with HGB 140, and a maker of today's case with another HGB."""
    save_policy(laboratory, Rules(delta_rules=[HGB, NGS]), reason="Ours", by=admin)
    client = sign_in(pathologist)

    def make(hgb, name="A-2", cells=NORMAL, *, hours=1):
        at = timezone.now() - timedelta(hours=hours)
        case = reviewed(cells, name, collected_at=at, received_at=at)
        run = BloodCount("XN", at + timedelta(minutes=5), True, (value_of("HGB", str(hgb), "g/L"),))
        store_blood_count(case, run, by=technologist)
        keep_flags(case)
        return case

    assert post_signature(client, make(140, "A-1", hours=25)).status_code == 302
    make.client = client
    return make


@pytest.mark.slow
def test_a_mix_up_alarm_holds_the_signature_until_it_is_answered_and_the_answer_is_printed(earlier, pathologist):
    case, client = earlier(85), earlier.client
    alarm = DeltaAlarm.objects.get(case=case)
    assert (alarm.fact["before"], alarm.fact["now"], alarm.fact["change"]) == ("140", "85", -55)
    case.refresh_from_db()
    assert (case.flag_level, case.flags[0]["title"]) == (3, "Check the sample: Haemoglobin")
    assert "A possible sample mix-up is not answered: Haemoglobin." in post_signature(client, case).content.decode()
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Haemoglobin 85 g/L, before 140 g/L (A-1," in page
    empty = client.post(reverse("alarm_dismiss", args=[alarm.pk]), {"reason": " "}, follow=True)
    assert "Enter why the alarm is dismissed" in empty.content.decode()
    client.post(reverse("alarm_dismiss", args=[alarm.pk]), {"reason": "Bleeding, known.", "back": "sign"})
    [told] = client.get(f"/api/v1/cases/id/{case.pk}/delta-alarms/").json()
    assert (told["now"], told["before"], told["is_mix_up"], told["is_active"]) == ("85", "140", True, False)
    assert [(line["kind"], line["reason"]) for line in told["log"]] == [("dismissed", "Bleeding, known.")]
    keep_flags(case)
    case.refresh_from_db()
    assert case.flag_level == 0
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    assert report.content["deltas"][0]["reason"] == "Bleeding, known."
    printed = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "Dismissed by Paul" in printed
    assert "Bleeding, known." in printed
    event = Event.objects.get(action="delta.dismiss")
    assert (event.changes["reason"], event.case_id, event.actor_id) == ("Bleeding, known.", case.pk, pathologist.pk)
    bundle = client.get(reverse("report_export", args=[report.pk, "bundle"])).content
    assert problems_of(bundle) == []
    with pytest.raises(Refused, match="closed"):
        escalate_alarm(alarm, by=pathologist)


@pytest.mark.slow
def test_an_escalated_alarm_is_answered_by_a_pathologist_only(earlier, technologist, pathologist):
    alarm = DeltaAlarm.objects.get(case=earlier(85))
    assert escalate_alarm(alarm, by=technologist, reason="Please look.") == escalate_alarm(alarm, by=technologist)
    with pytest.raises(Refused, match="a pathologist answers it"):
        dismiss_alarm(alarm, by=technologist, reason="Fine.")
    dismiss_alarm(alarm, by=pathologist, reason="Transfused.")
    with pytest.raises(Refused, match="answered already"):
        dismiss_alarm(alarm, by=pathologist, reason="Again.")


@pytest.mark.slow
def test_a_technologist_releases_no_report_with_an_alarm_and_the_report_prints_the_rule(earlier, technologist):
    content = content_of(draft_of(earlier(85), by=technologist))
    assert Condition.NO_DELTA in unmet_conditions(Case.objects.get(accession_number="A-2"), content, Rules())
    said = "Changes against the earlier result: Haemoglobin from 30 within 72h, Neutrophils from 0 within 30d."
    assert said in content["policies"]["sentences"]


@pytest.mark.slow
def test_a_rerun_that_agrees_ends_the_alarm_and_one_that_does_not_is_a_new_one(earlier, technologist):
    case = earlier(85)
    for hgb in (138, 84):
        run = BloodCount("XN", timezone.now(), True, (value_of("HGB", str(hgb), "g/L"),))
        store_blood_count(case, run, by=technologist)
        keep_flags(case)
        keep_flags(case)
    assert [(a.number, a.is_active) for a in DeltaAlarm.objects.filter(case=case)] == [(1, False), (2, True)]
    assert Event.objects.filter(action="delta.no_longer").count() == 1


@pytest.mark.slow
def test_a_changed_percentage_is_shown_and_holds_nothing(earlier):
    case = earlier(139, cells={**NORMAL, "NGS": 300})
    alarm = DeltaAlarm.objects.get(case=case)
    assert (alarm.title, alarm.is_mix_up) == ("Neutrophils", False)
    assert post_signature(earlier.client, case).status_code == 302
    page = earlier.client.get(reverse("report_detail", args=[Report.objects.get(case=case).pk])).content.decode()
    assert "Not answered." in page


@pytest.mark.slow
def test_older_than_the_span_withdrawn_and_later_results_are_compared_with_nothing(earlier):
    assert DeltaAlarm.objects.count() == 0
    before = Report.objects.get()
    assert not DeltaAlarm.objects.filter(case=earlier(85, "A-0", hours=26)).exists()
    data = {"reason": "Wrong tube.", "password": PASSWORD}
    assert earlier.client.post(reverse("report_withdraw", args=[before.pk]), data).status_code == 302
    assert not DeltaAlarm.objects.filter(case=earlier(85)).exists()


@pytest.mark.slow
def test_the_database_refuses_to_change_an_alarm_or_its_answer(earlier, pathologist):
    alarm = DeltaAlarm.objects.get(case=earlier(85))
    entry = dismiss_alarm(alarm, by=pathologist, reason="Known.")
    for row in (alarm, entry):
        with pytest.raises(DatabaseError), transaction.atomic():
            type(row).objects.filter(pk=row.pk).delete()
        with pytest.raises(DatabaseError), transaction.atomic():
            row.save()


@pytest.mark.slow
def test_an_administrator_enters_rules_as_the_next_version(sign_in, admin, laboratory):
    client = sign_in(admin)
    form = {"delta-TOTAL_FORMS": 1, "delta-INITIAL_FORMS": 0, "reason": "Ours"}
    form |= {f"delta-0-{name}": value for name, value in HGB.items() if name != "key"}
    assert client.post(reverse("delta_rules"), form).status_code == 302
    assert laboratory.policies.get().rules["delta_rules"] == [HGB | {"key": "haemoglobin_30"}]
    wrong = client.post(reverse("delta_rules"), form | {"delta-0-span": "3w"})
    assert "write the span as 72h or 30d" in wrong.content.decode()
    page = client.get(reverse("policy_edit"))
    assert reverse("delta_rules") in page.content.decode()
