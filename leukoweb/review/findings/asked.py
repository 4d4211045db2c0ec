"""What a JSON request about findings must hold, and how findings are answered; it stores nothing.

Page and programs send and get the same.
"""

from typing import Any

from rest_framework import serializers

from leukoweb.cases.models import Case
from leukoweb.given import LARGEST_KEY
from leukoweb.review.findings.marking import MOST_EXAMINED, MOST_NOTE, MOST_PICTURES, Mark
from leukoweb.review.findings.state import last_findings
from leukoweb.review.findings.table import GROUPS, ITEMS, Group, Item, items_of
from leukoweb.review.models import Finding

MOST_MARKS = 100


class MarkRequest(serializers.Serializer):
    """One finding or group of the table; an empty value takes it back."""

    key = serializers.ChoiceField((*ITEMS, *GROUPS))
    value = serializers.CharField(max_length=16, allow_blank=True, help_text="One of its `values`; empty: not marked.")
    counted = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=MOST_EXAMINED)
    examined = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=MOST_EXAMINED)
    note = serializers.CharField(required=False, allow_blank=True, max_length=MOST_NOTE)
    pictures = serializers.ListField(
        child=serializers.ListField(
            child=serializers.IntegerField(min_value=0, max_value=LARGEST_KEY), min_length=5, max_length=5
        ),
        required=False, max_length=MOST_PICTURES,
        help_text="Parts of images of the case: [image, x1, y1, x2, y2] in px.",
    )  # fmt: skip
    seen = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=LARGEST_KEY,
        help_text="The `last` that you saw; refused with 409 when it was marked again since.",
    )  # fmt: skip


class FindingsRequest(serializers.Serializer):
    """Findings that are marked in one step: all or none."""

    key = serializers.UUIDField(
        required=False, help_text="Chosen by the sender: the same request sent again is stored once."
    )
    findings = serializers.ListField(child=MarkRequest(), min_length=1, max_length=MOST_MARKS)

    def marks(self) -> list[Mark]:
        """Return the checked marks."""
        return [Mark(**mark) for mark in self.validated_data["findings"]]


class UndoRequest(serializers.Serializer):
    """Take back this reader's last step."""

    key = serializers.UUIDField()
    undo = serializers.BooleanField()


class ItemAnswer(serializers.Serializer):
    """A finding as it is marked now; `last` is the row that says so (0: none yet)."""

    key = serializers.CharField()
    name = serializers.CharField()
    loinc = serializers.CharField(allow_blank=True)
    values = serializers.DictField(child=serializers.CharField())
    value = serializers.CharField(allow_blank=True)
    counted_per = serializers.CharField(allow_blank=True)
    counted = serializers.IntegerField(allow_null=True)
    examined = serializers.IntegerField(allow_null=True)
    note = serializers.CharField(allow_blank=True)
    pictures = serializers.ListField(child=serializers.ListField(child=serializers.IntegerField()))
    by = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(allow_null=True)
    last = serializers.IntegerField()


class GroupAnswer(ItemAnswer):
    """A part of the film with its findings; `is_asked`: it is graded or "not examined" on every report."""

    is_asked = serializers.BooleanField()
    items = ItemAnswer(many=True)


class FindingsAnswer(serializers.Serializer):
    """All findings that can be marked, group by group."""

    groups = GroupAnswer(many=True)


def answer_of(case: Case) -> dict[str, Any]:
    """Return what can be marked on a case and what is marked, in the form of `FindingsAnswer`."""
    rows = last_findings(case)
    groups = [
        _shown(group, rows.get(group.key))
        | {"is_asked": group.is_asked, "items": [_shown(item, rows.get(item.key)) for item in items_of(group.key)]}
        for group in GROUPS.values()
    ]
    return {"groups": groups}


def _shown(known: Item | Group, row: Finding | None) -> dict[str, Any]:
    return {
        "key": known.key, "name": known.name, "loinc": known.loinc, "values": known.values,
        "value": row.value if row else "", "counted_per": getattr(known, "counted_per", ""),
        "counted": row.counted if row else None, "examined": row.examined if row else None,
        "note": row.note if row else "", "pictures": row.pictures if row else [],
        "by": row.marked_by.printed_name if row and row.value else "",
        "at": row.marked_at.isoformat() if row and row.value else None, "last": row.pk if row else 0,
    }  # fmt: skip
