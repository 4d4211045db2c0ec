"""Who may release a report: the rules, the second person, and each act of each role in each state (C7, S3)."""

import itertools
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from leukoweb.accounts.roles import ADMIN, PATHOLOGIST, ROLES, TECHNOLOGIST
from leukoweb.analysis.models import Run
from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.cases.models import STATES, Case
from leukoweb.cases.services import reject_case
from leukoweb.refusals import Refused
from leukoweb.review.counting.policies import FOUR_EYES, RELEASE, Rules, rules_from
from leukoweb.review.criticals.calls import close_critical, give_receipt, record_call
from leukoweb.review.models import Report
from leukoweb.review.reports import signing
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.gates import gates_of
from leukoweb.review.reports.release import Condition, unmet_conditions
from leukoweb.review.reports.withdrawing import cancel_amendment, withdraw_report
from leukoweb.review.services import save_policy
from leukoweb.review.urgency import keep_flags
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, look_at, post_signature, reviewed  # noqa: F401  a fixture

pytestmark = pytest.mark.slow

HEALTHY = {"NGS": 70, "LYT": 40}


def rule(laboratory, admin, **rules):
    return save_policy(laboratory, rules_from(rules), reason="Two levels of release", by=admin)


def give_counts(case, by, *keys):
    units = {"WBC": ("7.0", "10*9/L"), "HGB": ("140", "g/L"), "PLT": ("250", "10*9/L")}
    values = tuple(value_of(key, *units[key]) for key in keys or units)
    store_blood_count(case, BloodCount("XN", timezone.now(), True, values), by=by)


@pytest.fixture
def normal(reviewed, known_evidence, technologist, laboratory, admin):  # noqa: F811
    """A reviewed film that meets every condition, in a laboratory whose technologists may release."""
    rule(laboratory, admin, release="technologist")
    case = reviewed(HEALTHY, collected_at=None)
    give_counts(case, technologist)
    return case


def test_a_laboratory_that_changed_nothing_leaves_release_to_pathologists(
    reviewed, known_evidence, technologist, sign_in, laboratory, admin  # noqa: F811
):  # fmt: skip
    case = reviewed(HEALTHY)
    give_counts(case, technologist)
    client = sign_in(technologist)
    assert client.get(reverse("case_sign", args=[case.pk])).status_code == 403
    rule(laboratory, admin, decimals=0)
    assert client.get(reverse("case_sign", args=[case.pk])).status_code == 403
    report = signing.draft_of(case, by=technologist)
    with pytest.raises(Refused, match="Only a pathologist can sign"):
        signing.sign_report(report, by=technologist, password=PASSWORD, meaning=signing.MEANINGS[0])


def test_a_technologist_releases_a_normal_film_where_the_laboratory_says_so(normal, sign_in, technologist):
    """The report says who released it, in which role, and prints the rule."""
    client = sign_in(technologist)
    assert "Report and signature" in client.get(reverse("case_detail", args=[normal.pk])).content.decode()
    assert post_signature(client, normal).status_code == 302
    content = Report.objects.get(case=normal, state="signed").content
    assert content["signature"]["role"] == "Technologist"
    assert any("A technologist may release a film of 100" in line for line in content["policies"]["sentences"])


SPOILED: dict[Condition, Callable] = {}


def spoils(condition):
    def keep(change):
        SPOILED[condition] = change
        return change

    return keep


@spoils(Condition.FIRST)
def _amended(case, content, by):
    content["report"]["amends_version"] = 1


@spoils(Condition.NO_FLAG)
def _flagged(case, content, by):
    content["flags"].append({"title": "Left shift", "urgency": "note", "codes": [], "acknowledged_at": None})


@spoils(Condition.NO_GRAVE)
def _grave(case, content, by):
    content["counts"]["MYB"] = 1


@spoils(Condition.EVIDENCE)
def _unproven(case, content, by):
    content["counts"]["BAS"] = 1


@spoils(Condition.COUNT)
def _few(case, content, by):
    content["differential"]["total"] = 99


@spoils(Condition.NO_DELTA)
def _changed(case, content, by):
    content["previous"] = {"figures": {"LYT": {"percent": 2, "low": 1, "high": 4}}}


@spoils(Condition.CBC)
def _without_count(case, content, by):
    del content["cbc"]


@pytest.mark.parametrize("condition", list(Condition))
def test_each_condition_alone_sends_the_film_to_a_pathologist(normal, technologist, condition):
    """Complete by construction: a condition without a spoiled film is a KeyError."""
    report = signing.draft_of(normal, by=technologist)
    content, rules = content_of(report), rules_from({"release": "technologist"})
    assert unmet_conditions(normal, content, rules) == {}
    SPOILED[condition](normal, content, technologist)
    unmet = set(unmet_conditions(normal, content, rules))
    assert condition in unmet
    assert unmet <= {condition, Condition.EVIDENCE}  # a grave type is unproven, too
    gate = next(g for g in gates_of(report, content, by=technologist) if g.key == "release")
    assert not gate.is_met
    assert str(condition.label) in gate.sentence


def test_a_flagged_film_is_refused_to_the_technologist_and_signed_by_the_pathologist(
    reviewed, laboratory, admin, sign_in, technologist, pathologist  # noqa: F811
):  # fmt: skip
    rule(laboratory, admin, release="technologist", release_needs_cbc=False)
    case = reviewed({**NORMAL, "MMZ": 15})
    answer = post_signature(sign_in(technologist), case)
    assert "A pathologist must release it" in answer.content.decode()
    assert not Report.objects.filter(state="signed").exists()
    assert post_signature(sign_in(pathologist), case).status_code == 302


@pytest.mark.parametrize("four_eyes", list(FOUR_EYES))
@pytest.mark.parametrize("is_flagged", [False, True])
def test_the_same_person_releases_only_where_the_rule_lets_it(
    make_case, make_slide, laboratory, admin, sign_in, technologist, pathologist, four_eyes, is_flagged
):
    """SENAITE's three values: allowed, not for flagged, never."""
    rule(laboratory, admin, four_eyes=four_eyes)
    case = make_case()
    make_slide(case, {**NORMAL, "PMO": 1, "MYB": 1, "MMZ": 1} if is_flagged else NORMAL)
    look_at(case, pathologist)
    page = sign_in(pathologist).get(reverse("case_sign", args=[case.pk]))
    refused = four_eyes == "never" or (four_eyes == "not_flagged" and is_flagged)
    assert ("four_eyes" in [g.key for g in page.context["gates"] if not g.is_met]) is refused
    assert (post_signature(sign_in(pathologist), case).status_code == 200) is refused
    if refused:
        other = type(pathologist).objects.create_user(
            "petra", password=PASSWORD, role="pathologist", laboratory=laboratory, statement_accepted_at=timezone.now()
        )
        assert post_signature(sign_in(other), case).status_code == 302


def test_a_role_that_was_taken_away_meanwhile_signs_nothing(reviewed, pathologist):  # noqa: F811
    case = reviewed(NORMAL)
    report = signing.draft_of(case, by=pathologist)
    type(pathologist).objects.filter(pk=pathologist.pk).update(role=TECHNOLOGIST)
    with pytest.raises(Refused, match="Only a pathologist can sign"):
        signing.sign_report(report, by=pathologist, password=PASSWORD, meaning=signing.MEANINGS[0])


def test_the_second_of_two_releasers_is_refused(normal, technologist, pathologist):
    report = signing.draft_of(normal, by=technologist)
    signing.sign_report(report, by=technologist, password=PASSWORD, meaning=signing.MEANINGS[0])
    with pytest.raises(Refused, match="already signed"):
        signing.sign_report(report, by=pathologist, password=PASSWORD, meaning=signing.MEANINGS[0])


def test_rules_of_release_that_are_none_are_refused(laboratory):
    for wrong in ({"release": "anybody"}, {"four_eyes": "sometimes"}, {"release_needs_cbc": 1},
                  {"release_least_count": 0}):  # fmt: skip
        with pytest.raises(Refused):
            rules_from(wrong)
    assert (Rules().release, Rules().four_eyes) == ("pathologist", "allowed")


# --- the table: role x state x act ----------------------------------------------------------------------------------

T, P, B, N = {TECHNOLOGIST}, {PATHOLOGIST}, {TECHNOLOGIST, PATHOLOGIST}, set()
ALL_STATES = tuple(STATES)
OPEN = ("to_review", "to_sign")


def _report(case: Case, by) -> Report:
    return Report.objects.filter(case=case).order_by("-version").first() or Report(case=case, created_by=by)


def _sign(case, by):
    signing.sign_report(signing.draft_of(case, by=by), by=by, password=PASSWORD, meaning=signing.MEANINGS[0])


# What is done, and which roles may do it in which states; in every other state it is refused to everybody.
ACTS: dict[str, tuple[Callable, dict[str, set[str]]]] = {
    "hand over": (lambda case, by: signing.hand_over(case, by=by), {"to_review": B}),
    "take back": (lambda case, by: signing.take_back(case, by=by), {"to_sign": T}),  # the sender is the technologist
    "return": (lambda case, by: signing.return_case(case, by=by, reason="Again."), {"to_sign": P}),
    "sign": (_sign, {"to_review": P, "to_sign": P, "amending": P}),
    "amend": (lambda c, by: signing.amend_report(_report(c, by), by=by, reason="x"), {"signed": P, "withdrawn": P}),
    "withdraw": (
        lambda c, by: withdraw_report(_report(c, by), by=by, password=PASSWORD, reason="Wrong tube."), {"signed": P}
    ),
    "cancel the amendment": (lambda c, by: cancel_amendment(_report(c, by), by=by, reason="x"), {"amending": P}),
    "call": (
        lambda c, by: record_call(
            c.criticals.get(), by=by, told_to="Dr Mole", told_role="ward", how="phone", is_reached=True
        ),
        dict.fromkeys(ALL_STATES, B),
    ),
    "close without read-back": (
        lambda c, by: close_critical(c.criticals.get(), by=by, reason="Known."), dict.fromkeys(ALL_STATES, P)
    ),
    "acknowledge the critical result": (
        lambda c, by: give_receipt(c.criticals.get(), by=by), dict.fromkeys(ALL_STATES, B)
    ),
}  # fmt: skip


@pytest.fixture
def people(technologist, pathologist, admin):
    return {TECHNOLOGIST: technologist, PATHOLOGIST: pathologist, ADMIN: admin}


def brought_to(state, make_case, make_slide, people) -> Case:
    """A case in a state, with one critical blood count."""
    technologist, pathologist = people[TECHNOLOGIST], people[PATHOLOGIST]
    case = make_case(ordered_at=timezone.now() if state == "ordered" else None)
    give_counts(case, technologist, "WBC", "HGB")
    store_blood_count(
        case, BloodCount("XN", timezone.now(), True, (value_of("PLT", "9", "10*9/L"),)), by=technologist
    )  # fmt: skip
    keep_flags(case)
    if state in ("ordered", "registered"):
        return case
    if state == "rejected":
        reject_case(case, by=technologist, code="RC", reason="Clotted.")
        return case
    slide = make_slide(case, NORMAL)
    if state in ("queued", "running", "failed"):
        Run.objects.filter(slide=slide).update(state=state)
        return case
    look_at(case, technologist)
    if state == "to_review":
        return case
    signing.hand_over(case, by=technologist)
    if state == "to_sign":
        return case
    give_receipt(case.criticals.get(), by=pathologist)
    _sign(case, pathologist)
    if state == "withdrawn":
        withdraw_report(Report.objects.get(case=case), by=pathologist, password=PASSWORD, reason="Wrong tube.")
    if state == "amending":
        signing.amend_report(Report.objects.get(case=case), by=pathologist, reason="Recount.")
    return case


@pytest.mark.parametrize("state", ALL_STATES)
def test_each_act_of_each_role_is_done_or_refused_as_the_table_says(make_case, make_slide, people, state):
    """Complete by construction: every role and every state of the product, and every act of the table."""
    case = brought_to(state, make_case, make_slide, people)
    assert Case.objects.with_state().get(pk=case.pk).state == state
    assert set(people) == set(ROLES)
    wrong = []
    for (name, (act, allowed)), (role, person) in itertools.product(ACTS.items(), people.items()):
        outer = transaction.atomic()
        outer.__enter__()
        try:
            try:
                if name == "sign":  # everything but the right to sign is in place
                    for critical in case.criticals.all():
                        give_receipt(critical, by=people[PATHOLOGIST])
                act(Case.objects.get(pk=case.pk), person)
                is_done = True
            except (Refused, Report.DoesNotExist):
                is_done = False
        finally:
            connection.set_rollback(True)
            outer.__exit__(None, None, None)
        if is_done is not (role in allowed.get(state, N)):
            wrong.append(f"{role} in {state}: {name} {'was done' if is_done else 'was refused'}")
    assert wrong == []


def test_the_rules_name_every_choice():
    assert set(RELEASE) == {"pathologist", "technologist"}
    assert set(FOUR_EYES) == {"allowed", "not_flagged", "never"}
