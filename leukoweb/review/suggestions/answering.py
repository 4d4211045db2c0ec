"""Answer a proposed phrase: accept it, accept it in other words, refuse it; each answer is a row and an audit event.

What is accepted goes into the interpretation of the draft, where the signer edits it like any other words.
"""

from django.db import transaction
from django.utils.translation import gettext as _

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.release import may_release
from leukoweb.review.reports.signing import MOST_INTERPRETATION, draft_of, edit_draft
from leukoweb.review.services import current_policy, rules_of
from leukoweb.review.suggestions.models import SuggestionAnswer
from leukoweb.texts import within

Answer = SuggestionAnswer.Answer


def answer_suggestion(case: Case, key: str, answer: str, *, by: User, seen: str, text: str = "") -> Report:
    """Answer what a rule proposes and return the draft; words that were taken up before give way to the new ones.

    `seen` is the phrase as it was shown, "" for one that is no longer proposed: then its words are kept ("edited") or
    taken out ("refused"). Before: the case is not signed.
    """
    if answer not in Answer.values:
        raise Refused(_("Accept a phrase, edit it, or refuse it."), "answer")
    if not may_release(by, rules_of(current_policy(case.laboratory_id))):
        raise Refused(_("Only who may sign the report answers its phrases."), code="not_allowed")
    text = " ".join(text.split())
    if answer == Answer.EDITED and not text:
        raise Refused(_("Write the phrase in your own words, or refuse it."), "text")
    with transaction.atomic():
        report = draft_of(case, by=by)
        content = content_of(report)
        part = next((part for part in content.get("suggestions", []) if part["key"] == key), None)
        if part is None or part["now"] != seen or (answer == Answer.ACCEPTED and not part["now"]):
            raise Refused(_("This phrase is no longer proposed as it was shown. Look at the page again."),
                          code="changed_since")  # fmt: skip
        taken = {Answer.ACCEPTED: part["now"], Answer.EDITED: text}.get(Answer(answer), "")
        written = _exchanged(report.interpretation, part["text"], taken)
        within(written, MOST_INTERPRETATION, "interpretation")
        report = edit_draft(report, by=by, interpretation=written)
        row = SuggestionAnswer.objects.create(
            report=report, case=report.case, key=key, title=part["title"], proposed=part["now"],
            because=part["because"][:400], source=part["source"], policy_version=content["policies"]["version"],
            answer=answer, text=taken, answered_by=by,
        )  # fmt: skip
        said = {"rule": key, "version": row.policy_version, "proposed": row.proposed, "text": taken}
        record(f"suggestion.{answer}", actor=by, obj=row, case=report.case, changes=said)
    return report


def _exchanged(interpretation: str, before: str, now: str) -> str:
    """Put words in place of others; where those are not there (any more), behind what there is."""
    if before and before in interpretation:
        return " ".join(interpretation.replace(before, now, 1).split())
    if now and now in interpretation:
        return interpretation
    return f"{interpretation} {now}".strip()
