"""The figures of a count as reports keep them: JSON values with these keys; reports/parts.py says what they stand in.

What a report of an earlier version does not have is NotRequired.
"""

from typing import NotRequired, TypedDict


class ReferenceRange(TypedDict):
    """A range of a type or group for persons of a sex and an age; a limit that is None is open."""

    key: str
    unit: str
    low: float | None
    high: float | None
    sex: str
    age_from: str
    age_under: str | None
    source: str


class IntervalPart(TypedDict):
    """A 95 % interval; None where there was nothing to count."""

    low: float | None
    high: float | None


class FigurePart(IntervalPart):
    """What a comparison needs of a line: percentage with its interval, and absolute count."""

    percent: float | None
    absolute: float | None


class RowPart(FigurePart):
    """A line: `differential.Row` as JSON values."""

    key: str
    name: str
    count: int
    counted: int
    zero_upper: float | None
    per_100: float | None
    percent_range: ReferenceRange | None
    absolute_range: ReferenceRange | None
    call: str
    is_call_certain: bool
    is_grouped: bool


class DifferentialPart(TypedDict):
    """The differential: `differential.Differential` as JSON values, without its rules."""

    rows: list[RowPart]
    unidentified: RowPart
    groups: dict[str, RowPart]
    total: int
    not_cells: int
    is_limited: bool
    wbc_giga_per_l: float | None
    corrected_wbc: float | None
    absolute_refusal: str
    range_refusal: NotRequired[str]  # since version 1.3
    smudge_as_lymphocytes: NotRequired[bool]  # before version 1.3 a rule of the laboratory


class PreviousPart(TypedDict):
    """The person's last signed differential; `wbc` is what its absolute counts were taken from, 10*9/L."""

    accession_number: str
    received_at: str | None
    figures: dict[str, FigurePart]
    wbc: NotRequired[float | None]  # since version 1.6


class CodesPart(TypedDict):
    """LOINC codes of one line, "" where there is none."""

    percent: str
    absolute: str
