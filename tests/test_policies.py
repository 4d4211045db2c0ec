"""A laboratory's rules: edited by administrators, versioned, checked, printed (C4-C7)."""

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.counting.ages import Age
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.models import Phrase, Policy
from leukoweb.review.services import count_case, save_policy

# The empty last line of each table as a browser sends it.
EMPTY_LINE = {"key": "neutrophils", "unit": "%", "sex": "any", "age_from": "0d"}
EMPTY_LIMIT = {
    "item": "blasts", "comparison": ">=", "unit": "cells", "sex": "any", "age_from": "0d", "severity": "urgent",
}  # fmt: skip


def form_of(page, **changes):
    """The page's own form as it would be sent back."""
    initial = page.context["form"].initial.items()
    form = {name: value for name, value in initial if name not in ("ranges", "flag_rules")}
    form["reason"] = "Decided at the quality meeting."
    for prefix, empty_line in (("ranges", EMPTY_LINE), ("limits", EMPTY_LIMIT)):
        lines = page.context[prefix]
        empty = lines.initial_form_count()
        form |= {f"{prefix}-TOTAL_FORMS": lines.total_form_count(), f"{prefix}-INITIAL_FORMS": empty}
        for number, entry in enumerate(lines.initial):
            form |= {f"{prefix}-{number}-{name}": "" if value is None else value for name, value in entry.items()}
        form |= {f"{prefix}-{empty}-{name}": value for name, value in empty_line.items()}
    form |= changes
    return {name: value for name, value in form.items() if value is not None and value is not False}


@pytest.mark.slow
def test_an_administrator_puts_rules_in_force_as_a_new_version(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="separate", apl_share=80))
    policy = Policy.objects.get()
    assert (policy.version, policy.rules["bands"], policy.rules["apl_share"]) == (1, "separate", 80.0)
    assert policy.rules["ranges"] == Rules().as_dict()["ranges"]
    assert policy.rules["flag_rules"] == Rules().as_dict()["flag_rules"]
    changes = Event.objects.get(action="policy.change").changes
    assert changes["bands"] == ["grouped", "separate"]
    assert changes["reason"] == "Decided at the quality meeting."
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="grouped"))
    assert [policy.version for policy in Policy.objects.all()] == [2, 1]
    assert "bands:" in client.get(reverse("policy_edit")).content.decode()


@pytest.mark.slow
def test_rules_that_somebody_put_in_force_meanwhile_are_not_overwritten(sign_in, admin, laboratory):
    """A page that was opened before took them all back; also a table of another page, at the same moment."""
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    save_policy(laboratory, rules_from({"bands": "separate"}), reason="Ours.", by=admin)
    late = client.post(reverse("policy_edit"), form_of(page, decimals=0, seen=page.context["seen"])).content.decode()
    assert "Version 1 was put in force meanwhile" in late
    assert '<input type="hidden" name="seen" value="0">' in late
    table = {"seen": "0", "reason": "x", "delta-TOTAL_FORMS": 0, "delta-INITIAL_FORMS": 0}
    assert "was put in force meanwhile" in client.post(reverse("delta_rules"), table).content.decode()
    assert Policy.objects.get().rules["bands"] == "separate"


@pytest.mark.slow
def test_no_new_version_without_a_reason_or_without_a_change(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="separate", reason=""))
    assert "Nothing was changed" in client.post(reverse("policy_edit"), form_of(page)).content.decode()
    assert not Policy.objects.exists()


@pytest.mark.slow
def test_a_range_is_added_and_removed(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    last = page.context["ranges"].initial_form_count()
    child = {"key": "LYT", "unit": "10*9/L", "low": 4, "high": 10.5, "sex": "any", "age_from": "3d",
             "age_under": "12m", "source": "own study"}  # fmt: skip
    added = {f"ranges-{last}-{name}": value for name, value in child.items()}
    client.post(reverse("policy_edit"), form_of(page, **added, **{"ranges-0-DELETE": "on"}))
    ranges = Policy.objects.get().rules["ranges"]
    assert child in [{**entry} for entry in ranges]
    assert not any(entry["key"] == "neutrophils" and entry["unit"] == "10*9/L" for entry in ranges)
    assert rules_from(Policy.objects.get().rules).range_for("LYT", "10*9/L", Age(180, 6, 0), "F")["high"] == 10.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blasts_first_limit", 30),
        ("blasts_second_limit", 120),
        ("flag_rules", "none"),
        ("flag_rules", [{"key": "x"}]),
        ("apl_source", " "),
        ("apl_bilobed", 0),
        ("wbc_hours", 0),
        ("minimum_count", 0),
        ("decimals", 7),
        ("nrbc_correction_from", -1),
        ("lya_limit", float("nan")),
        ("apl_share", float("nan")),
        ("bands", "sometimes"),
        ("corrects_wbc", "yes"),
        ("minimum_count", 1.5),
        ("surprise", 1),
        ("ranges", "none"),
        ("ranges", [{"key": "LYT"}]),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_a_sentence(field, value):
    with pytest.raises(Refused) as refused:
        rules_from({field: value})
    assert all(sentence.endswith(".") for sentence in refused.value.fields.values())


@pytest.mark.parametrize(
    "change",
    [
        {"key": "XYZ"}, {"unit": "furlong"}, {"sex": "X"}, {"source": " "}, {"low": None, "high": None},
        {"low": 9, "high": 1}, {"age_from": "20y", "age_under": "10y"}, {"age_from": "2 years"}, {"low": "a"},
    ],
)  # fmt: skip
def test_a_range_that_makes_no_sense_is_refused(change):
    good = {"key": "LYT", "unit": "%", "low": 1, "high": 9, "sex": "F", "source": "x",
            "age_from": "0d", "age_under": "1y"}  # fmt: skip
    rules_from({"ranges": [good]})
    with pytest.raises(Refused):
        rules_from({"ranges": [good | change]})


def test_two_ranges_for_the_same_person_are_refused():
    one = {"key": "LYT", "unit": "%", "low": 1, "high": 9, "sex": "F", "source": "x",
           "age_from": "0d", "age_under": "5y"}  # fmt: skip
    rules_from({"ranges": [one, one | {"age_from": "5y", "age_under": None}]})
    with pytest.raises(Refused):
        rules_from({"ranges": [one, one | {"age_from": "59m", "age_under": None}]})


def test_the_range_of_a_sex_goes_before_the_range_of_any_sex():
    one = {
        "key": "LYT",
        "unit": "%",
        "low": 1,
        "high": 9,
        "sex": "any",
        "age_from": "0d",
        "age_under": None,
        "source": "x",
    }
    rules = rules_from({"ranges": [one, one | {"sex": "F", "high": 7}]})
    adult = Age(30 * 365, 360, 30)
    assert rules.range_for("LYT", "%", adult, "F")["high"] == 7
    assert rules.range_for("LYT", "%", adult, "M")["high"] == 9
    # a range of every age needs no birth date, one from an age on does
    assert rules.range_for("LYT", "%", None, "F")["high"] == 7
    assert Rules().range_for("LYT", "%", None, "F") is None


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from([*Rules().as_dict()]), st.none() | st.booleans() | st.integers() | st.text(max_size=3)
    )
)
def test_stored_rules_come_back_as_they_were_or_are_refused(stored):
    try:
        rules = rules_from(stored)
    except Refused:
        return
    assert rules_from(rules.as_dict()) == rules


@pytest.mark.slow
def test_wrong_rules_are_explained_on_the_page_and_change_nothing(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    at = [row["key"] for row in page.context["limits"].initial].index("blasts_first_limit")
    answer = client.post(reverse("policy_edit"), form_of(page, **{f"limits-{at}-limit": 50}))
    assert "the gravest last; 20 must lie beyond 50" in answer.content.decode()
    assert not Policy.objects.exists()


def test_phrases_stand_beside_the_comment(sign_in, admin, pathologist, make_case, make_slide):
    client = sign_in(admin)
    client.post(reverse("phrase_list"), {"name": "normal", "text": "No abnormal cell was seen."})
    client.post(reverse("phrase_list"), {"name": "normal", "text": "twice"})
    phrase = Phrase.objects.get()
    case = make_case()
    make_slide(case, {"NGS": 100})
    page = sign_in(pathologist).get(reverse("case_sign", args=[case.pk])).content.decode()
    assert 'data-phrase="No abnormal cell was seen."' in page
    sign_in(admin).post(reverse("phrase_delete", args=[phrase.pk]))
    assert not Phrase.objects.exists()


def test_a_template_takes_the_figures_of_the_case(sign_in, admin, pathologist, make_case, make_slide):
    text = "{total} leukocytes, {NGS} % segmented, {blasts} % blasts, {EBO} erythroblasts per 100."
    sign_in(admin).post(reverse("phrase_list"), {"name": "usual", "text": text})
    case = make_case()
    make_slide(case, {"NGS": 150, "MYO": 50, "EBO": 10})
    page = sign_in(pathologist).get(reverse("case_sign", args=[case.pk])).content.decode()
    assert "200 leukocytes, 75.0 % segmented, 25.0 % blasts, 5.0 erythroblasts per 100." in page


def test_a_template_with_a_place_that_has_no_figure_is_refused(sign_in, admin):
    answer = sign_in(admin).post(reverse("phrase_list"), {"name": "usual", "text": "{NGZ} %"})
    assert "There is no figure for {NGZ}" in answer.content.decode()
    assert not Phrase.objects.exists()


@pytest.mark.slow
def test_a_limit_of_the_laboratory_raises_a_flag_and_names_its_source(sign_in, admin, make_case, make_slide):
    """C7: a row of the table is added on the page, without an id, and works at once on every open case."""
    case = make_case()
    make_slide(case, {"NGS": 90, "EOS": 10})
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    last = page.context["limits"].initial_form_count()
    row = {
        **EMPTY_LIMIT, "title": "Many eosinophils", "item": "EOS", "comparison": ">", "limit": 8, "unit": "%",
        "severity": "review", "bench": "Ask for drugs and travel.", "source": "own audit 2026",
    }  # fmt: skip
    client.post(reverse("policy_edit"), form_of(page, **{f"limits-{last}-{name}": row[name] for name in row}))
    stored = Policy.objects.get().rules["flag_rules"][-1]
    assert (stored["key"], stored["source"]) == ("many_eosinophils_8", "own audit 2026")
    flag = {flag.key: flag for flag in count_case(Case.objects.get()).flags}["many_eosinophils_8"]
    assert flag.bench.startswith("10 eosinophils, 10.0% of leukocytes, above 8%. Ask for drugs and travel.")
    assert "Ask for drugs" not in flag.report


@pytest.mark.parametrize(
    "change",
    [
        {"item": "XYZ"}, {"unit": "furlong"}, {"comparison": "="}, {"severity": "loud"}, {"sex": "X"}, {"source": " "},
        {"title": ""}, {"limit": -1}, {"limit": "a"}, {"limit": 101}, {"key": "a b"}, {"key": "possible_apl"},
        {"item": "EBO"}, {"item": "WBC"}, {"unit": "per 100 WBC"}, {"age_from": "2 years"}, {"limit": float("nan")},
        {"age_from": "6m", "age_under": "3d"}, {"bench": None},
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_refused_in_a_sentence(change):
    row = {
        "key": "x", "title": "X", "item": "EOS", "unit": "%", "comparison": ">", "limit": 5, "sex": "any",
        "age_from": "0d", "age_under": None, "severity": "note", "bench": "", "report": "", "source": "x",
    }  # fmt: skip
    rules_from({"flag_rules": [row]})
    with pytest.raises(Refused) as refused:
        rules_from({"flag_rules": [row | change]})
    assert refused.value.fields["flag_rules"].endswith(".")


def test_rules_of_an_earlier_version_keep_their_limits_and_ages():
    """A policy stored before there was a table: five single limits, ages in years, smudge cells as a rule."""
    old = {"blasts_first_limit": 3.0, "lya_limit": 10, "nrbc_limit": 2, "smudge_cells": "as_lymphocytes",
           "ranges": [{"key": "LYT", "unit": "%", "low": 1, "high": 9, "sex": "any", "age_from": 0.5,
                       "age_under": 18, "source": "x"}]}  # fmt: skip
    rules = rules_from(old)
    limits = {row["key"]: row["limit"] for row in rules.flag_rules}
    found = [
        limits[key] for key in ("blasts_first_limit", "blasts_second_limit", "atypical_lymphocytes", "erythroblasts")
    ]
    assert found == [3.0, 20, 10, 2]
    assert (rules.ranges[0]["age_from"], rules.ranges[0]["age_under"]) == ("6m", "18y")
