"""Why a blood count needs a film: conditions with a true and a false case, refused tables, the page and its report."""

from dataclasses import replace

import pytest
from django.urls import reverse

from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.cbc import value_of
from leukoweb.refusals import Refused
from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.conditions import Facts, facts_of, met_by
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.review_rules import problem_of, reasons_for
from leukoweb.review.counting.review_rules_offered import OFFERED
from leukoweb.review.criticals.models import Critical
from leukoweb.review.models import Policy
from leukoweb.review.services import save_policy
from leukoweb.review.tasks import store_flags
from tests.test_policies import form_of as policy_form
from tests.test_reports import reviewed, signed  # noqa: F401 (fixtures)

RULE = {
    "key": "low_wbc", "title": "Leukopenia", "when": "WBC < 4", "action": "film", "sex": "any", "age_from": "0d",
    "age_under": None, "true_case": "WBC 3.2", "false_case": "WBC 4", "source": "SOP 7 of this laboratory",
}  # fmt: skip
RUN = BloodCount(
    "Sysmex XN-1000", None, True,
    (value_of("WBC", "3.2", "10*3/uL"), value_of("HGB", "8.7", "mmol/L"), value_of("PLT", "++++", "")), ("Blasts?",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("when", "true", "false"),
    [
        ("WBC < 4", "WBC 3.2", "WBC 4"),
        ("WBC <= 4", "WBC 4", "WBC 4.1"),
        ("HGB > 180", "HGB 181", "HGB 180"),
        ("HGB >= 180.5", "HGB 180.5", "HGB 180.4"),
        ("IG% > 2 and WBC > 30", "IG% 3, WBC 31", "IG% 3, WBC 30"),
        ("NEU# < 1", "NEU# 0.9", "WBC 0.9"),
        ("film:MON > 10", "film:MON 12", "MON% 12"),
        ("PLT doubtful", "PLT doubtful", "PLT over range"),
        ("PLT over range", "PLT over range", "PLT 900"),
        ("LYM% not measured", "LYM% not measured", "LYM% 30"),
        ('flag "blasts"', 'flag "Blasts/Abn_Lympho?"', 'flag "Anisocytosis"'),
        ('WBC > 50 and first time', "WBC 51, first time", "WBC 51"),
    ],
)  # fmt: skip
def test_each_kind_of_condition_has_a_case_that_meets_it_and_one_that_does_not(when, true, false):
    assert met_by(when, facts_of(true))
    assert not met_by(when, facts_of(false))
    rules_from({"review_rules": [RULE | {"when": when, "true_case": true, "false_case": false}]})


@pytest.mark.parametrize(
    ("when", "sent", "is_met"),
    [("PLT < 20", "<20", True), ("PLT > 20", "<30", False), ("WBC > 100", "++++", True), ("WBC < 4", "++++", False)],
)
def test_a_bound_and_a_value_over_the_range_meet_a_condition_as_they_are_meant(when, sent, is_met):
    """H26: "<30" met "above 20"; a value over the analyser's range met nothing."""
    value = value_of(when[:3], sent, "10*9/L")
    facts = Facts({value.key: value.amount} if value.amount is not None else {}, {value.key: value.note})
    assert bool(met_by(when, facts)) is is_met


def test_a_rule_for_adults_is_met_by_a_person_of_unknown_age():
    """H28: as flags and critical results judge, so that no film is missed."""
    facts = Facts({"WBC": 2.0})
    assert reasons_for([RULE | {"age_from": "18y"}], facts, age=None, sex="U")
    assert not reasons_for([RULE | {"age_under": "18y"}], facts, age=None, sex="U")


def test_nothing_is_met_by_a_count_without_values():
    assert not met_by("WBC < 4", Facts())
    assert not met_by("PLT doubtful", Facts())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"true_case": "WBC 5"}, "its true case does not meet it"),
        ({"false_case": "WBC 1"}, "its false case meets it"),
        ({"false_case": "WBC low"}, "write the cases as values"),
        ({"when": "WBC below 4"}, "is no part of a condition"),
        ({"when": "WBC < 4 or PLT < 9"}, "is no part of a condition"),
        ({"when": "RETIC < 4", "true_case": "RETIC 3"}, "RETIC is no parameter"),
        ({"when": "film:XXX < 4"}, "film:XXX is no parameter"),
        ({"when": "MON < 4"}, "MON is no parameter"),
        ({"when": "__import__('os')"}, "is no part of a condition"),
        ({"source": " "}, "fill in the source"),
        ({"title": 7}, "fill in the title"),
        ({"action": "ignore"}, "the action is one of"),
        ({"age_from": "young"}, "write ages as"),
        ({"age_from": "2y", "age_under": "1y"}, "the ages are empty"),
    ],
)
def test_a_rule_that_fails_its_own_cases_or_cannot_be_read_is_refused(changes, words):
    with pytest.raises(Refused) as refused:
        rules_from({"review_rules": [RULE | changes]})
    assert words in refused.value.fields["review_rules"]


@pytest.mark.parametrize("table", ["none", [1], [{"key": "x"}], [RULE, RULE], [RULE] * 101])
def test_what_is_no_table_of_rules_is_refused(table):
    with pytest.raises(Refused):
        rules_from({"review_rules": table})


def test_no_rule_is_active_until_a_laboratory_enters_one():
    assert Rules().review_rules == []


def test_a_rule_is_for_its_sex_and_age_only():
    infant, adult = Age(days=20, months=0, years=0), Age(days=9000, months=290, years=24)
    rule = RULE | {"sex": "F", "age_under": "1m"}
    facts = Facts({"WBC": 3.0})
    assert reasons_for([rule], facts, age=infant, sex="F")[0].words == "WBC 3 < 4"
    assert not reasons_for([rule], facts, age=infant, sex="M")
    assert not reasons_for([rule], facts, age=adult, sex="F")
    assert not reasons_for([rule], facts, age=None, sex="F")


def with_rules(laboratory, admin, *rules):
    return save_policy(laboratory, replace(Rules(), review_rules=list(rules)), reason="SOP 7", by=admin)


def page_of(client, case):
    return client.get(reverse("case_detail", args=[case.pk])).content.decode()


def test_the_page_of_a_case_says_why_this_film(make_case, make_slide, laboratory, admin, technologist, sign_in):
    case, client = make_case(), sign_in(technologist)
    store_blood_count(case, RUN, by=technologist)
    assert "Why this film" not in page_of(client, case)
    flag = {"when": 'flag "blast"', "true_case": 'flag "Blasts?"', "false_case": "WBC 5"}
    film = {"when": "film:MON > 5", "true_case": "film:MON 6", "false_case": "film:MON 5"}
    high = {"when": "HGB > 200", "true_case": "HGB 201", "false_case": "HGB 200"}
    first = {"when": "first time", "true_case": "first time", "false_case": "WBC 5"}
    with_rules(
        laboratory, admin, RULE, RULE | flag | {"key": "b", "title": "Suspicion", "action": "pathologist"},
        RULE | film | {"key": "c", "title": "Monocytes"}, RULE | high | {"key": "d", "title": "High"},
        RULE | first | {"key": "e", "title": "First report"},
    )  # fmt: skip
    page = page_of(client, case)
    assert "Leukopenia: WBC 3.2 &lt; 4" in page
    assert "make a film; SOP 7 of this laboratory" in page
    assert "Suspicion: Blasts?" in page
    assert "First report: first time" in page
    assert "Monocytes:" not in page
    assert "High:" not in page
    make_slide(case, {"MON": 10, "NGS": 90})
    assert "Monocytes: film:MON 10 &gt; 5" in page_of(client, case)


@pytest.mark.slow
def test_a_preliminary_count_and_an_earlier_report_take_no_part(signed, make_case, laboratory, admin, technologist):  # noqa: F811
    report, client = signed
    first = {"when": "first time", "true_case": "first time", "false_case": "WBC 5", "key": "f", "title": "First"}
    with_rules(laboratory, admin, RULE, RULE | first)
    case = make_case("A-2", patient=report.case.patient)
    store_blood_count(case, replace(RUN, is_final=False), by=technologist)
    assert "Why this film" not in page_of(client, case)
    store_blood_count(case, RUN, by=technologist)
    page = page_of(client, case)
    assert "Leukopenia: WBC" in page
    assert "First: first time" not in page


def form_of(*rules, reason="SOP 7"):
    form = {"review-TOTAL_FORMS": len(rules), "review-INITIAL_FORMS": 0, "reason": reason}
    for number, rule in enumerate(rules):
        form |= {f"review-{number}-{name}": value or "" for name, value in rule.items()}
    return form


@pytest.mark.slow
def test_an_administrator_enters_rules_as_a_new_version_and_sees_how_often_each_is_met(
    make_case, sign_in, admin, technologist, laboratory, other_laboratory
):
    client, address = sign_in(admin), reverse("review_rules")
    assert "No rule is active" in client.get(address).content.decode()
    refused = client.post(address, form_of(RULE | {"true_case": "WBC 9"})).content.decode()
    assert "its true case does not meet it" in refused
    assert not Policy.objects.exists()
    new = RULE | {"key": ""}
    high = RULE | {"title": "High", "when": "WBC > 50", "true_case": "WBC 51", "false_case": "WBC 3", "key": ""}
    assert client.post(address, form_of(new, high)).status_code == 302
    stored = Policy.objects.get()
    assert (stored.reason, [rule["key"] for rule in stored.rules["review_rules"]]) == ("SOP 7", ["leukopenia", "high"])
    for number, wbc in enumerate(("3.2", "3.9", "7")):
        count = replace(RUN, values=(value_of("WBC", wbc, "10*3/uL"),))
        store_blood_count(make_case(f"A-{number}"), count, by=technologist)
    store_blood_count(make_case("B-1", laboratory=other_laboratory), RUN, by=technologist)
    context = client.get(address).context
    assert [(rule["title"], number) for rule, number in context["met"]] == [("Leukopenia", 2), ("High", 0)]
    assert context["looked_at"] == 3
    page = client.get(reverse("policy_edit"))
    assert page.status_code == 200


def test_rules_of_a_public_source_are_offered_and_are_not_active_until_somebody_activates_them(
    sign_in, admin, laboratory
):
    assert problem_of(OFFERED) == ""
    client, address = sign_in(admin), reverse("review_rules")
    assert f"Put {len(OFFERED)} rules of ClinLab Navigator" in client.get(address).content.decode()
    lines = client.get(f"{address}?offer").context["lines"]
    assert [line.initial["when"] for line in lines.initial_forms] == [rule["when"] for rule in OFFERED]
    assert not Policy.objects.exists()
    assert client.post(address, form_of(*OFFERED)).status_code == 302
    assert Policy.objects.get().rules["review_rules"] == OFFERED


def test_a_review_rule_whose_action_is_critical_makes_a_critical_result(make_case, laboratory, admin, technologist):
    with_rules(laboratory, admin, RULE | {"action": "critical", "title": "Leukopenia, ours"})
    case = make_case()
    store_blood_count(case, RUN, by=technologist)
    store_flags()
    store_flags()
    [critical] = Critical.objects.filter(case=case)
    assert critical.fact["sentence"] == "Leukopenia, ours: WBC 3.2 < 4."
    assert critical.fact["source"] == RULE["source"]


@pytest.mark.slow
def test_the_rules_of_counting_keep_the_review_rules(laboratory, admin, sign_in):
    with_rules(laboratory, admin, RULE)
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    answer = client.post(reverse("policy_edit"), policy_form(page, minimum_count=200))
    assert answer.status_code == 302
    assert Policy.objects.order_by("-version").first().rules["review_rules"] == [RULE]
