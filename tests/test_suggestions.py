"""Phrases that rules propose for the interpretation: conditions, answers of people, the seal (C17, S4, S11)."""

from dataclasses import replace

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils.translation import override

from leukoweb.audit.models import Event
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.counting.conditions import facts_of, met_by
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.suggestion_rules import DEFAULTS
from leukoweb.review.findings.marking import Mark, mark_findings
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.ledger import problems_of_report
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.signing import amend_report, draft_of
from leukoweb.review.reports.withdrawing import cancel_amendment
from leukoweb.review.services import save_policy
from leukoweb.review.suggestions.answering import answer_suggestion
from leukoweb.review.suggestions.models import SuggestionAnswer
from tests.test_reports import WBC, post_signature, reviewed  # noqa: F401  a fixture

HIGH = {"NGS": 85, "LYT": 10, "MON": 2, "EOS": 2, "BAS": 1}  # neutrophils 14.79 with a WBC of 17.4
RULE = DEFAULTS[0] | {"key": "own", "title": "Own", "source": "SOP 9"}


@pytest.mark.parametrize("rule", DEFAULTS, ids=lambda rule: rule["key"])
def test_each_shipped_phrase_has_a_true_and_a_false_case_and_names_its_definition(rule):
    assert met_by(rule["when"], facts_of(rule["true_case"]))
    assert not met_by(rule["when"], facts_of(rule["false_case"]))
    assert rule["source"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "Blasts {blast}%."}, "no figure for {blast}"),
        ({"text": "Blasts\n{blasts}%."}, "in one line"),
        ({"text": ""}, "fill in the text"),
        ({"when": "finding:nothing >= 1"}, "finding:nothing is no parameter"),
        ({"when": "PLT high"}, "can never be"),
        ({"when": "film:EOS doubtful"}, "can never be"),
        ({"true_case": "film:blasts 0"}, "its true case does not meet it"),
        ({"false_case": "film:blasts 4"}, "its false case meets it"),
        ({"sex": "X"}, "the sex must be"),
        ({"key": "a b"}, "letters, digits"),
    ],
)
def test_a_wrong_rule_is_refused_in_a_sentence(changes, words):
    with pytest.raises(Refused) as refused:
        rules_from({"suggestion_rules": [RULE | changes]})
    assert words in refused.value.fields["suggestion_rules"]


def test_an_earlier_result_and_a_finding_meet_a_condition():
    assert met_by("previous:film:blasts > 0 and film:blasts <= 0", facts_of("previous:film:blasts 3, film:blasts 0"))
    assert met_by("finding:schistocytes >= 2", facts_of("finding:schistocytes 2"))
    assert not met_by("finding:schistocytes >= 2", facts_of("finding:schistocytes 1"))


def parts_of(case, by):
    return {p["key"]: p for p in content_of(draft_of(case, by=by, is_kept=False)).get("suggestions", [])}


@pytest.fixture
def high(reviewed):  # noqa: F811
    """A case of neutrophilia, ready to be signed."""
    return reviewed(HIGH, **WBC)


def send(client, case, key, answer, **more):
    parts = {
        p["key"]: p["now"] for p in client.get(reverse("case_sign", args=[case.pk])).context["content"]["suggestions"]
    }
    form = {"key": key, "answer": answer, "seen": parts.get(key, "")} | more
    return client.post(reverse("case_suggestion", args=[case.pk]), form)


@pytest.mark.slow
def test_what_the_counts_say_is_proposed_and_what_they_do_not_is_not(high, pathologist, reviewed):  # noqa: F811
    found = parts_of(high, pathologist)
    assert found["neutrophilia"]["now"] == "Absolute neutrophilia, 14.79 × 10⁹/L."
    assert found["neutrophilia"]["source"] == "the laboratory's own reference ranges"
    assert "neutropenia" not in found
    assert "blasts" not in found
    aml = parts_of(reviewed({"MYO": 30, "NGS": 50, "EBO": 8, "LYT": 20}, "A-2"), pathologist)
    assert aml["blasts"]["now"] == "Blasts 30.0% of 100 leukocytes."
    assert aml["nucleated_red_cells"]["now"] == "Nucleated red cells 8.0 per 100 leukocytes."
    assert not [key for key in aml if key.endswith(("philia", "penia"))]  # no WBC, no absolute count


@pytest.mark.slow
def test_a_person_accepts_edits_and_refuses_and_the_report_seals_who_did_what(high, sign_in, pathologist):
    client = sign_in(pathologist)
    mark_findings(high, [Mark("parasites", "seen"), Mark("platelet_clumps", "2")], by=pathologist)
    assert send(client, high, "neutrophilia", "accepted").json()["interpretation"] == (
        "Absolute neutrophilia, 14.79 × 10⁹/L."
    )
    edited = send(client, high, "parasites", "edited", text="Trophozoites  seen.").json()
    assert edited["interpretation"] == "Absolute neutrophilia, 14.79 × 10⁹/L. Trophozoites seen."
    send(client, high, "platelet_clumps", "refused")
    page = client.get(reverse("case_sign", args=[high.pk])).content.decode()
    assert "Accepted by Paul" in page
    signature = {"interpretation": edited["interpretation"]}
    assert post_signature(client, high, **signature).status_code == 302
    report = Report.objects.get(case=high)
    sealed = {
        p["key"]: (p["answer"], p["text"], p["by"][:4], p["policy_version"]) for p in report.content["suggestions"]
    }
    assert sealed["neutrophilia"] == ("accepted", "Absolute neutrophilia, 14.79 × 10⁹/L.", "Paul", 0)
    assert sealed["parasites"] == ("edited", "Trophozoites seen.", "Paul", 0)
    assert sealed["platelet_clumps"][0] == "refused"
    assert problems_of(client.get(reverse("report_export", args=[report.pk, "bundle"])).content) == []
    assert problems_of_report(report) == []
    assert "in other words by Paul" in client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert (
        Event.objects.filter(action="suggestion.edited", case_id=high.pk).get().changes["text"] == "Trophozoites seen."
    )
    assert send_closed(client, high) == 409


def send_closed(client, case):
    form = {"key": "neutrophilia", "answer": "refused", "seen": "Absolute neutrophilia, 14.79 × 10⁹/L."}
    return client.post(reverse("case_suggestion", args=[case.pk]), form).status_code


@pytest.mark.slow
def test_a_phrase_whose_figures_change_after_it_was_accepted_holds_the_signature(high, sign_in, pathologist):
    client = sign_in(pathologist)
    written = send(client, high, "neutrophilia", "accepted").json()["interpretation"]
    cell = current_cells(high).filter(detector_code="NGS").first()
    relabel_cells([cell], to="LYT", by=pathologist)
    refused = post_signature(client, high, interpretation=written)
    assert "The figures of phrases that you took up have changed: Neutrophilia." in refused.content.decode()
    assert "The figures have changed since; the report says" in refused.content.decode()
    again = send(client, high, "neutrophilia", "accepted").json()["interpretation"]
    assert again == "Absolute neutrophilia, 14.62 × 10⁹/L."
    assert post_signature(client, high, interpretation=again).status_code == 302


@pytest.mark.slow
def test_a_phrase_that_is_no_longer_proposed_is_taken_out_or_kept_in_own_words(high, pathologist):
    answer_suggestion(high, "neutrophilia", "accepted", by=pathologist, seen="Absolute neutrophilia, 14.79 × 10⁹/L.")
    relabel_cells(list(current_cells(high).filter(detector_code="NGS")[:60]), to="LYT", by=pathologist)
    assert parts_of(high, pathologist)["neutrophilia"]["now"] == ""
    with pytest.raises(Refused, match="no longer proposed"):
        answer_suggestion(high, "neutrophilia", "accepted", by=pathologist, seen="")
    assert answer_suggestion(high, "neutrophilia", "refused", by=pathologist, seen="").interpretation == ""
    assert "neutrophilia" not in parts_of(high, pathologist)


@pytest.mark.slow
def test_a_cancelled_amendment_leaves_the_answers_of_the_signed_version(high, sign_in, pathologist):
    client = sign_in(pathologist)
    written = send(client, high, "neutrophilia", "accepted").json()["interpretation"]
    post_signature(client, high, interpretation=written)
    signed = Report.objects.get(case=high)
    draft = amend_report(signed, by=pathologist, reason="Words.")
    send(client, high, "neutrophilia", "refused")
    assert parts_of(high, pathologist)["neutrophilia"]["answer"] == "refused"
    cancel_amendment(Report.objects.get(pk=draft.pk), by=pathologist, reason="By mistake.")
    amend_report(signed, by=pathologist, reason="Again.")
    assert parts_of(high, pathologist)["neutrophilia"]["answer"] == "accepted"


@pytest.mark.slow
def test_an_answer_is_refused_in_words_where_it_cannot_be(high, sign_in, pathologist, technologist):
    client = sign_in(pathologist)
    assert send(client, high, "neutrophilia", "accepted", seen="Blasts 90%.").status_code == 409
    assert send(client, high, "blasts", "accepted").status_code == 409
    assert (
        send(client, high, "neutrophilia", "edited", text=" ").json()["fields"]["text"].startswith("Write the phrase")
    )
    assert send(client, high, "neutrophilia", "liked").status_code == 400
    long = "x" * 280
    client.post(reverse("case_sign", args=[high.pk]), {"act": "keep", "interpretation": long})
    assert "write at most 300" in send(client, high, "neutrophilia", "accepted").json()["detail"]
    with pytest.raises(Refused, match="may sign"):
        answer_suggestion(high, "neutrophilia", "refused", by=technologist, seen="")
    assert not SuggestionAnswer.objects.exists()


def test_the_database_refuses_to_change_an_answer(high, sign_in, pathologist):
    send(sign_in(pathologist), high, "neutrophilia", "accepted")
    for change in (lambda rows: rows.update(text="x"), lambda rows: rows.delete()):
        with pytest.raises(DatabaseError), transaction.atomic():
            change(SuggestionAnswer.objects.all())


def test_a_german_report_is_offered_german_phrases(high, laboratory, pathologist):
    laboratory.language = "de"
    laboratory.save()
    high.refresh_from_db()
    with override("en"):
        assert parts_of(high, pathologist)["neutrophilia"]["now"] == "Absolute Neutrophilie, 14,79 × 10⁹/l."


@pytest.mark.slow
def test_programs_read_and_answer_phrases(high, sign_in, pathologist, technologist):
    client, address = sign_in(pathologist), reverse("api_suggestions_by_id", args=[high.pk])
    found = {p["key"]: p for p in client.get(address).json()["suggestions"]}
    asked = {"key": "neutrophilia", "answer": "accepted", "seen": found["neutrophilia"]["now"]}
    answer = client.post(address, asked, content_type="application/json").json()
    assert answer["interpretation"] == found["neutrophilia"]["now"]
    assert {p["key"]: p["answer"] for p in answer["suggestions"]}["neutrophilia"] == "accepted"
    assert sign_in(technologist).post(address, asked, content_type="application/json").status_code == 403


@pytest.mark.slow
def test_a_laboratory_writes_its_own_phrases_as_a_new_version(high, sign_in, admin, pathologist, laboratory):
    client, address = sign_in(admin), reverse("suggestion_rules")
    rule = RULE | {"when": "film:NGS >= 80", "true_case": "film:NGS 80", "false_case": "film:NGS 79", "key": "",
                   "text": "Mostly {NGS}% segmented."}  # fmt: skip
    form = {"suggestion-TOTAL_FORMS": 1, "suggestion-INITIAL_FORMS": 0, "reason": "SOP 9"}
    form |= {f"suggestion-0-{name}": value or "" for name, value in rule.items()}
    assert (
        "its true case does not meet it"
        in client.post(address, form | {"suggestion-0-true_case": "film:NGS 1"}).content.decode()
    )
    assert client.post(address, form).status_code == 302
    assert [p["now"] for p in parts_of(high, pathologist).values()] == ["Mostly 85.0% segmented."]
    save_policy(laboratory, replace(Rules(), suggestion_rules=[]), reason="Off", by=admin)
    assert parts_of(high, pathologist) == {}
