"""What a report says of critical results: the part that is sealed, its sentences, and its codes for messages."""

from collections.abc import Iterable

from leukoweb.cases.models import Case
from leukoweb.review.counting.flags import UNCONFIRMED
from leukoweb.review.criticals.models import Critical, CriticalEntry
from leukoweb.review.criticals.rules import CODES
from leukoweb.review.reports.parts import CallPart, CriticalPart, FlagPart, receipt_part, sealed_time

FIRST_SUSPECTED = "First suspected by the detector."  # when it was detected; the flags of the report say what is so now


def criticals_part(case: Case) -> list[CriticalPart]:
    """Return the critical results of a case with their log as it is now, first to last."""
    return [_part(critical) for critical in Critical.objects.filter(case=case).with_log()]


def _part(critical: Critical) -> CriticalPart:
    fact, ending = critical.fact, next(iter(critical.of_kind(CriticalEntry.Kind.CLOSED)), None)
    part: CriticalPart = {
        "title": critical.title,
        "sentence": fact["sentence"].replace(UNCONFIRMED, FIRST_SUSPECTED),
        "limit": fact["limit"],
        "source": fact["source"],
        "code": fact["code"],
        "figure": fact["figure"],
        "codes": fact["codes"],
        "policy_version": critical.policy_version,
        "detected_at": sealed_time(critical.detected_at),
        "bench_receipt": receipt_part(critical.bench_receipt),
        "pathologist_receipt": receipt_part(critical.pathologist_receipt),
        "calls": [_call(call) for call in critical.calls],
        "closed": receipt_part(ending),
        "reason": ending.reason if ending else "",
        "no_longer": critical.no_longer.change_words if critical.no_longer else "",
    }
    if critical.covered and (exception := critical.covered.exception):
        part["exception"] = {
            "number": exception.pk, "until": exception.until.isoformat(), "reason": exception.reason,
            "by": exception.set_by.printed_name,
        }  # fmt: skip
    return part


def _call(call: CriticalEntry) -> CallPart:
    return {
        "to": call.told_to,
        "role": call.told_role,
        "how": call.how,
        "reached": bool(call.is_reached),
        "read_back": bool(call.is_read_back),
        "at": sealed_time(call.told_at) if call.told_at else None,
        "minutes": call.minutes,
        "by": call.by.printed_name if call.by else "",
    }


def is_seen(critical: CriticalPart, unseen: list[FlagPart]) -> bool:
    """Say whether a pathologist has seen a critical result, or will with one of the flags that are not seen yet.

    A closed one, and one that an exception covers, needs nobody.
    """
    codes, closed = (
        set(critical["codes"]),
        critical["closed"]["at"] or critical["no_longer"] or critical.get("exception"),
    )
    return bool(
        closed or critical["pathologist_receipt"]["at"] or (codes and any(codes <= set(f["codes"]) for f in unseen))
    )


def critical_codes(criticals: Iterable[CriticalPart]) -> dict[str, str]:
    """Return figure to code of HL7 table 0078, of the results that are still critical; only codes of the table."""
    return {
        critical["figure"]: critical["code"]
        for critical in criticals
        if critical["figure"] and critical["code"] in CODES and not critical["no_longer"]
    }


def sentence_of(critical: CriticalPart) -> str:
    """Return a critical result with its call in one line, for messages."""
    said = f"Critical result: {critical['title']}. {critical['sentence']}"
    if critical["no_longer"]:
        said += f" No longer critical: {critical['no_longer']}."
    told = [call for call in critical["calls"] if call["reached"]]
    if exception := critical.get("exception"):
        said += (
            f" Covered by exception {exception['number']} for this patient until {exception['until']}, set by "
            f"{exception['by']}: {exception['reason']}"
        )
        if not told:
            return said
    if not told:
        attempts = len(critical["calls"])
        return f"{said} Nobody was told before the signature" + (f", {attempts} attempts." if attempts else ".")
    call = next((call for call in told if call["read_back"]), told[0])
    how = "telephone" if call["how"] == CriticalEntry.How.PHONE else "secure message"
    read_back = "read back" if call["read_back"] else "not read back"
    return (
        f"{said} Told to {call['to']} ({call['role']}) by {how} on {call['at']}, {call['minutes']} min after "
        f"detection, {read_back}. Source of the limit: {critical['source']}."
    )
