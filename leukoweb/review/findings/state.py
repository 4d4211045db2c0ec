"""What the findings of a case are now, and the part of a report that is made from them; it changes nothing."""

from datetime import datetime

from django.utils.translation import gettext

from leukoweb.cases.models import Case
from leukoweb.review.counting.differential import clopper_pearson
from leukoweb.review.counting.policies import Rules
from leukoweb.review.findings.parts import GroupPart, ItemPart
from leukoweb.review.findings.table import GROUPS, ITEMS, NOT_EXAMINED, Group, is_abnormal, items_of
from leukoweb.review.models import Finding
from leukoweb.review.reports.parts import Content, sealed_time


def last_findings(case: Case, *, until: datetime | None = None) -> dict[str, Finding]:
    """Return the last row of each finding and group, now or at a time, those that were taken back among them."""
    rows = Finding.objects.filter(case=case).select_related("marked_by").order_by("pk")
    return {row.key: row for row in (rows if until is None else rows.filter(marked_at__lte=until))}


def current_findings(case: Case) -> dict[str, Finding]:
    """Return what is marked now, by key."""
    return {key: row for key, row in last_findings(case).items() if row.value}


def said_of_gate(content: Content) -> tuple[str, bool]:
    """Return the gate before a signature in words, and whether it is met: nothing was marked of a part without a time.

    A laboratory that does not require findings is told what will be printed.
    """
    missing = {"groups": ", ".join(gettext(group["name"]) for group in content["findings"] if group["at"] is None)}
    if not missing["groups"]:
        return gettext("Red cells, white cells, platelets and parasites are graded or marked “not examined”."), True
    if content["policies"]["rules"]["findings_required"]:
        return gettext("Grade or mark as “not examined”: %(groups)s.") % missing, False
    return gettext("Printed as “not examined”: %(groups)s.") % missing, True


def findings_part(case: Case, rules: Rules) -> list[GroupPart]:
    """Return the findings as a report holds them; a group that is asked for and not marked is "not examined"."""
    marked = current_findings(case)
    return [part for group in GROUPS.values() if (part := _group(group, marked, rules))]


def _group(group: Group, marked: dict[str, Finding], rules: Rules) -> GroupPart | None:
    rows = [marked[item.key] for item in items_of(group.key) if item.key in marked]
    whole = marked.get(group.key)
    if not (rows or whole or group.is_asked):
        return None
    value = whole.value if whole else "" if rows else NOT_EXAMINED
    both = [*rows, *([whole] if whole else [])]
    return {
        "key": group.key, "name": group.name, "value": value, "text": group.values.get(value, ""), "loinc": group.loinc,
        "note": whole.note if whole else "", "items": [_item(row, rules) for row in rows],
        "by": sorted({row.marked_by.printed_name for row in both}),
        "at": max((sealed_time(row.marked_at) for row in both), default=None),
    }  # fmt: skip


def _item(row: Finding, rules: Rules) -> ItemPart:
    item = ITEMS[row.key]
    part: ItemPart = {
        "key": row.key, "name": item.name, "value": row.value, "text": item.values[row.value],
        "is_abnormal": is_abnormal(row.key, row.value), "loinc": item.loinc, "note": row.note,
        "by": row.marked_by.printed_name, "at": sealed_time(row.marked_at),
    }  # fmt: skip
    if row.pictures:
        part["pictures"] = row.pictures
    if row.examined:
        part["count"] = count_words(row.counted or 0, row.examined, item.counted_per, rules)
    return part


def count_words(counted: int, examined: int, per: str, rules: Rules) -> str:
    """Return a count with its share, exact interval and the laboratory's limit, as it is printed (C2)."""
    low, high = (100 * end for end in clopper_pearson(counted, examined))
    share, limit = 100 * counted / examined, rules.schistocytes_above
    words = f"{counted:,} of {examined:,} {per}, {share:.1f} % (95 % interval {low:.1f} to {high:.1f})"
    if share <= limit:
        return f"{words}, not above {limit:g} %"
    return f"{words}, above {limit:g} %" + ("" if low > limit else "?")
