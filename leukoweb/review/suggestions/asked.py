"""What a request about proposed phrases must hold, and how phrases are answered; page and programs send the same."""

from typing import Any

from rest_framework import serializers

from leukoweb.accounts.models import User
from leukoweb.cases.models import Case
from leukoweb.review.models import Report
from leukoweb.review.reports.page import shown_content
from leukoweb.review.reports.signing import draft_of
from leukoweb.review.suggestions.models import SuggestionAnswer


class AnswerRequest(serializers.Serializer):
    """An answer to one phrase."""

    key = serializers.CharField(max_length=40)
    answer = serializers.ChoiceField(SuggestionAnswer.Answer.choices)
    seen = serializers.CharField(
        max_length=300, allow_blank=True, trim_whitespace=False,
        help_text="The phrase (`now`) that you saw; refused with 409 when it is another one since.",
    )  # fmt: skip
    text = serializers.CharField(required=False, allow_blank=True, max_length=300, help_text="Your words (`edited`).")


class SuggestionAnswered(serializers.Serializer):
    """A phrase with its answer; `now` is empty where it was taken up and is no longer proposed."""

    key = serializers.CharField()
    title = serializers.CharField()
    proposed = serializers.CharField()
    now = serializers.CharField()
    because = serializers.CharField()
    source = serializers.CharField()
    policy_version = serializers.IntegerField()
    answer = serializers.ChoiceField([("", "none"), *SuggestionAnswer.Answer.choices])
    text = serializers.CharField()
    by = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True)


class SuggestionsAnswer(serializers.Serializer):
    """The interpretation as it is written, and every phrase."""

    interpretation = serializers.CharField()
    suggestions = SuggestionAnswered(many=True)


def answer_of(case: Case, *, by: User) -> dict[str, Any]:
    """Return the phrases of a case's newest report, in the form of `SuggestionsAnswer`; nothing is stored."""
    report = Report.objects.filter(case=case).select_related("case__patient", "case__laboratory", "amends").first()
    return answer_of_report(report or draft_of(case, by=by, is_kept=False))


def answer_of_report(report: Report) -> dict[str, Any]:
    """Return the same for one version of a report."""
    found = shown_content(report).get("suggestions", [])
    return {"interpretation": report.interpretation, "suggestions": found}
