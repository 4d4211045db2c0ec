"""The phrases that are proposed for a report now and what was answered: the part that is sealed; it changes nothing."""

from django.utils.translation import override

from leukoweb.review.counting.conditions import Facts, cbc_facts, film_facts
from leukoweb.review.counting.policies import rules_from
from leukoweb.review.counting.suggestion_rules import Proposal, proposals_of
from leukoweb.review.film_reasons import is_first_report
from leukoweb.review.findings.table import amount_of
from leukoweb.review.models import Report
from leukoweb.review.reports.parts import Content, SuggestionPart, sealed_time
from leukoweb.review.services import age_of
from leukoweb.review.suggestions.models import SuggestionAnswer


def suggestions_part(report: Report, content: Content) -> list[SuggestionPart]:
    """Return what is proposed now with its answer, then what was taken up and is no longer proposed.

    A refusal holds as long as the phrase is the same.
    """
    answers = last_answers(report)
    found = []
    for proposal in proposals(report, content):
        answer = answers.pop(proposal.key, None)
        if answer and answer.answer == SuggestionAnswer.Answer.REFUSED and answer.proposed != proposal.text:
            answer = None
        found.append(_part(proposal, answer, content["policies"]["version"]))
    taken = [answer for answer in answers.values() if answer.answer != SuggestionAnswer.Answer.REFUSED]
    return found + [_part(None, answer, answer.policy_version) for answer in taken]


def proposals(report: Report, content: Content) -> list[Proposal]:
    """Return what the laboratory's rules propose for a report, in the language that it is printed in."""
    rules, cbc = rules_from(content["policies"]["rules"]), content.get("cbc")
    if not rules.suggestion_rules or not content["differential"]["total"]:
        return []
    values = cbc["values"] if cbc else []
    with override(content.get("language", "en")):
        return proposals_of(
            rules.suggestion_rules, _facts(report, content), content["differential"], values,
            decimals=rules.decimals, age=age_of(report.case), sex=content["patient"]["sex"],
        )  # fmt: skip


def _facts(report: Report, content: Content) -> Facts:
    (values, calls), (amounts, marks) = film_facts(content["differential"]), cbc_facts(
        content["cbc"]["values"] if "cbc" in content else []
    )  # fmt: skip
    previous = content.get("previous")
    for key, figure in previous["figures"].items() if previous else ():
        if figure["percent"] is not None:
            values[f"previous:film:{key}"] = figure["percent"]
    for group in content.get("findings", []):
        said = [(group["key"], group["value"]), *((item["key"], item["value"]) for item in group["items"])]
        for key, value in said:
            if (amount := amount_of(key, value)) is not None:
                values[f"finding:{key}"] = amount
    return Facts(
        amounts | values, marks | calls, tuple(content["cbc"]["remarks"]) if "cbc" in content else (),
        tuple(flag["title"] for flag in content["flags"]), is_first_report(report.case),
    )  # fmt: skip


def last_answers(report: Report) -> dict[str, SuggestionAnswer]:
    """Return the last answer to each rule, of this version of the report and those before it that are still there."""
    versions = Report.objects.filter(case=report.case_id, version__lte=report.version)
    rows = SuggestionAnswer.objects.filter(case=report.case_id, report__in=versions).select_related("answered_by")
    return {row.key: row for row in rows.order_by("pk")}


def _part(proposal: Proposal | None, answer: SuggestionAnswer | None, version: int) -> SuggestionPart:
    said: Proposal | SuggestionAnswer | None = answer or proposal
    if said is None:
        raise ValueError("neither a proposal nor an answer")
    return {
        "key": said.key,
        "title": said.title,
        "proposed": answer.proposed if answer else said.text,
        "now": proposal.text if proposal else "",
        "because": said.because,
        "source": said.source,
        "policy_version": answer.policy_version if answer else version,
        "answer": answer.answer if answer else "",
        "text": answer.text if answer else "",
        "by": answer.answered_by.printed_name if answer else "",
        "at": sealed_time(answer.answered_at) if answer else None,
    }


def is_outdated(part: SuggestionPart) -> bool:
    """Say whether what was taken up is no longer what is proposed."""
    return part["answer"] in ("accepted", "edited") and part["now"] != part["proposed"]
