"""What a JSON request of a page or a program about cells must hold; it stores nothing.

Each is read here and nowhere else; what may be decided is the business of decisions.py.
"""

from typing import NotRequired, TypedDict
from uuid import UUID

from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy
from rest_framework import serializers

from leukoweb.given import LARGEST_KEY, json_of
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import LABELS

MOST_DECISIONS = 200
LABEL, ADD, UNDO, REDO = "label", "add", "undo", "redo"


class Asked(serializers.Serializer):
    """One decision as the page sends it; `key` is chosen by the page and sent again when an answer is lost."""

    key = serializers.UUIDField()
    act = serializers.ChoiceField((LABEL, ADD, UNDO, REDO))
    code = serializers.CharField(required=False, allow_null=True, allow_blank=True, max_length=20)
    reason = serializers.CharField(required=False, allow_blank=True, max_length=500)
    cells = serializers.DictField(
        child=serializers.IntegerField(min_value=0, max_value=LARGEST_KEY, allow_null=True),
        required=False,
        help_text=gettext_lazy("The key of each cell, and the last decision that was shown with it (0: none)."),
    )
    image = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_KEY)
    box = serializers.ListField(
        child=serializers.FloatField(min_value=-1e6, max_value=1e6), required=False, min_length=4, max_length=4
    )

    def validate_cells(self, cells: dict[str, int | None]) -> dict[int, int | None]:
        """Read the keys of the cells as numbers."""
        if not all(key.isascii() and key.isdigit() and int(key) <= LARGEST_KEY for key in cells):
            raise serializers.ValidationError(gettext("A key of a cell is a number."))
        return {int(key): seen for key, seen in cells.items()}


class AskedDecision(TypedDict):
    """What Asked has read."""

    key: UUID
    act: str
    code: NotRequired[str | None]
    reason: NotRequired[str]
    cells: NotRequired[dict[int, int | None]]
    image: NotRequired[int]
    box: NotRequired[list[float]]


class AskedBatch(serializers.Serializer):
    """The decisions of a request, in the order in which they were made."""

    decisions = serializers.ListField(child=Asked(), min_length=1, max_length=MOST_DECISIONS)


class DecisionRequest(serializers.Serializer):
    """One label for one cell, as a program sends it."""

    code = serializers.ChoiceField(LABELS, help_text="A type, UNI (unidentified) or NOT (not a cell).")
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    seen_decision = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST_KEY,
        help_text="The last decision you saw (0: none); refused with 409 when another one was made since. Left out, "
        "only a cell that nobody else decided on is labelled.",
    )


class PresenceRequest(serializers.Serializer):
    """A reader is at a case, and has seen what others decided up to `since`."""

    since = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=LARGEST_KEY)


class ScannedRequest(serializers.Serializer):
    """What a barcode scanner typed."""

    text = serializers.CharField(allow_blank=True, max_length=200)


class KeysRequest(serializers.Serializer):
    """A reader's own key for each type."""

    keys = serializers.DictField(child=serializers.CharField(max_length=1))


def read_asked(request: HttpRequest, serializer: type[serializers.Serializer], otherwise: str) -> dict:
    """Return the checked values of a JSON request; refuse it with the sentence `otherwise` where one is wrong."""
    asked = serializer(data=json_of(request.body or b"{}"))
    if not asked.is_valid():
        raise Refused(otherwise)
    return asked.validated_data
