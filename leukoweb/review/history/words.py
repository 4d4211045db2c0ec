"""What is said of a change against an earlier result in one line, the same in messages and files; pure."""

from leukoweb.review.reports.parts import DeltaFact, DeltaPart


def change_words(delta: DeltaPart) -> str:
    """Return both values, and where the earlier one stands."""
    fact = delta["fact"]
    unit = f" {fact['unit']}" if fact["unit"] else ""
    return (
        f"{fact['name']} {fact['now']}{unit}, before {fact['before']}{unit} ({fact['before_accession']}, "
        f"{fact['before_at']})"
    )


def delta_sentence(delta: DeltaPart) -> str:
    """Return a change with its limit and the answer, in sentences."""
    what = "Possible sample mix-up" if delta["is_mix_up"] else "Changed"
    said = f"{what}: {delta['title']}. {change_words(delta)}. {_limit(delta['fact'])}"
    if delta["escalated"]["at"]:
        said += f" Escalated by {delta['escalated']['by']}, {delta['escalated']['at']}."
        said += f" {delta['escalation']}" if delta["escalation"] else ""
    if not delta["dismissed"]["at"]:
        return f"{said} Not answered."
    return f"{said} Dismissed by {delta['dismissed']['by']}, {delta['dismissed']['at']}: {delta['reason']}"


def _limit(fact: DeltaFact) -> str:
    if fact["measure"] == "percent":
        return f"Limit: {fact['limit']} % of the earlier value within {fact['span']}."
    if fact["limit"]:
        return f"Limit: {fact['limit']} {fact['unit']} within {fact['span']}."
    return f"The intervals do not overlap; within {fact['span']}."
