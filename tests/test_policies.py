"""A laboratory's rules: edited by administrators, versioned, checked, printed (C4-C7)."""

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from leukoweb.audit.models import Event
from leukoweb.review.counting.policies import Refused, Rules, rules_from
from leukoweb.review.models import Phrase, Policy

EMPTY_LINE = {"key": "neutrophils", "unit": "%", "sex": "any", "age_from": 0}  # as a browser sends it


def form_of(page, **changes):
    """The page's own form as it would be sent back."""
    form = {name: value for name, value in page.context["form"].initial.items() if name != "ranges"}
    ranges = page.context["ranges"]
    form |= {
        "ranges-TOTAL_FORMS": ranges.total_form_count(),
        "ranges-INITIAL_FORMS": ranges.initial_form_count(),
        "reason": "Decided at the quality meeting.",
    }
    for number, entry in enumerate(ranges.initial):
        form |= {f"ranges-{number}-{name}": "" if value is None else value for name, value in entry.items()}
    empty = ranges.initial_form_count()
    form |= {f"ranges-{empty}-{name}": value for name, value in EMPTY_LINE.items()}
    form |= changes
    return {name: value for name, value in form.items() if value is not None and value is not False}


def test_an_administrator_puts_rules_in_force_as_a_new_version(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="separate", lya_limit=10))
    policy = Policy.objects.get()
    assert (policy.version, policy.rules["bands"], policy.rules["lya_limit"]) == (1, "separate", 10.0)
    assert policy.rules["ranges"] == Rules().as_dict()["ranges"]
    changes = Event.objects.get(action="policy.change").changes
    assert changes["bands"] == ["grouped", "separate"]
    assert changes["reason"] == "Decided at the quality meeting."
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="grouped"))
    assert [policy.version for policy in Policy.objects.all()] == [2, 1]
    assert "bands:" in client.get(reverse("policy_edit")).content.decode()


def test_no_new_version_without_a_reason_or_without_a_change(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    client.post(reverse("policy_edit"), form_of(page, bands="separate", reason=""))
    assert "Nothing was changed" in client.post(reverse("policy_edit"), form_of(page)).content.decode()
    assert not Policy.objects.exists()


def test_a_range_is_added_and_removed(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    last = page.context["ranges"].initial_form_count()
    child = {"key": "LYT", "unit": "10*9/L", "low": 4, "high": 10.5, "sex": "any", "age_from": 0, "age_under": 1,
             "source": "own study"}  # fmt: skip
    added = {f"ranges-{last}-{name}": value for name, value in child.items()}
    client.post(reverse("policy_edit"), form_of(page, **added, **{"ranges-0-DELETE": "on"}))
    ranges = Policy.objects.get().rules["ranges"]
    assert child in [{**entry} for entry in ranges]
    assert not any(entry["key"] == "neutrophils" and entry["unit"] == "10*9/L" for entry in ranges)
    assert rules_from(Policy.objects.get().rules).range_for("LYT", "10*9/L", 0.5, "F")["high"] == 10.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blasts_first_limit", 30),
        ("blasts_second_limit", 120),
        ("minimum_count", 0),
        ("decimals", 7),
        ("nrbc_correction_from", -1),
        ("lya_limit", float("nan")),
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
        {"low": 9, "high": 1}, {"age_from": 20, "age_under": 10}, {"low": "a"},
    ],
)  # fmt: skip
def test_a_range_that_makes_no_sense_is_refused(change):
    good = {"key": "LYT", "unit": "%", "low": 1, "high": 9, "sex": "F", "age_from": 0, "age_under": 1, "source": "x"}
    rules_from({"ranges": [good]})
    with pytest.raises(Refused):
        rules_from({"ranges": [good | change]})


def test_two_ranges_for_the_same_person_are_refused():
    one = {"key": "LYT", "unit": "%", "low": 1, "high": 9, "sex": "F", "age_from": 0, "age_under": 5, "source": "x"}
    rules_from({"ranges": [one, one | {"age_from": 5, "age_under": None}]})
    with pytest.raises(Refused):
        rules_from({"ranges": [one, one | {"age_from": 4, "age_under": None}]})


def test_the_range_of_a_sex_goes_before_the_range_of_any_sex():
    one = {
        "key": "LYT",
        "unit": "%",
        "low": 1,
        "high": 9,
        "sex": "any",
        "age_from": 0,
        "age_under": None,
        "source": "x",
    }
    rules = rules_from({"ranges": [one, one | {"sex": "F", "high": 7}]})
    assert rules.range_for("LYT", "%", 30, "F")["high"] == 7
    assert rules.range_for("LYT", "%", 30, "M")["high"] == 9
    assert rules.range_for("LYT", "%", None, "F") is None


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


def test_wrong_rules_are_explained_on_the_page_and_change_nothing(sign_in, admin):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    answer = client.post(reverse("policy_edit"), form_of(page, blasts_first_limit=50))
    assert "must be above the first" in answer.content.decode()
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
