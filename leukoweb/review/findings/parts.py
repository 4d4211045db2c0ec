"""The findings of a report as they are sealed: JSON values that page, PDF, CSV, API and messages read."""

from typing import NotRequired, TypedDict


class ItemPart(TypedDict):
    """One finding with its grade in words; a counted one with its share and the limit that was in force."""

    key: str
    name: str
    value: str
    text: str
    is_abnormal: bool
    loinc: str
    note: str
    count: NotRequired[str]
    pictures: NotRequired[list[list[int]]]  # [image, x1, y1, x2, y2]
    by: str
    at: str


class GroupPart(TypedDict):
    """A part of the film: said as a whole in `text`, finding by finding in `items`, or not examined."""

    key: str
    name: str
    value: str
    text: str
    loinc: str
    note: str
    items: list[ItemPart]
    by: list[str]
    at: str | None
