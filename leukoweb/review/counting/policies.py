"""A laboratory's rules of counting and flagging: the choices, their defaults and their checks.

Each default is a starting point that a laboratory edits; what was in force is printed on every report it shaped.

References
----------
Adult ranges: absolute counts as used by Oxford University Hospitals, in Frontiers in Pharmacology 2020;11:314, table 6
(doi 10.3389/fphar.2020.00314); percentages from MedlinePlus, "Blood differential test"
(medlineplus.gov/ency/article/003657).
"""

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from leukoweb.refusals import Refused
from leukoweb.review.counting import delta_rules, review_rules, suggestion_rules
from leukoweb.review.counting.ages import Age, bound_of_years, days_of, is_bound, is_within
from leukoweb.review.counting.delta_rules import DeltaRule
from leukoweb.review.counting.flag_rules import (
    COMPARISONS,
    OLD_LIMITS,
    UNITS,
    FlagRule,
    defaults,
    problem_of,
    with_old_limits,
)
from leukoweb.review.counting.parts import ReferenceRange
from leukoweb.review.counting.review_rules import ReviewRule
from leukoweb.review.counting.suggestion_rules import SuggestionRule
from leukoweb.review.counting.table_checks import Row

BANDS = {
    "grouped": "Bands counted with segmented neutrophils",
    "grouped_left_shift": "Bands grouped, with a comment on left shift",
    "separate": "Bands reported separately",
}
RELEASE_PATHOLOGIST, RELEASE_TECHNOLOGIST = "pathologist", "technologist"
RELEASE = {
    RELEASE_PATHOLOGIST: "A pathologist releases every report",
    RELEASE_TECHNOLOGIST: "A technologist may release normal films",
}
FOUR_EYES_ALLOWED, FOUR_EYES_NOT_FLAGGED, FOUR_EYES_NEVER = "allowed", "not_flagged", "never"
FOUR_EYES = {
    FOUR_EYES_ALLOWED: "The person who verified the cells may release the report",
    FOUR_EYES_NOT_FLAGGED: "The same person only where nothing is flagged",
    FOUR_EYES_NEVER: "Never the same person",
}
RANGE_KEYS = (
    "neutrophils", "NGS", "NGB", "LYT", "LYA", "MON", "EOS", "BAS", "MMZ", "MYB", "PMO", "PMB", "MYO", "MOB",
    "blasts", "promyelocytes", "EBO", "KSC",
)  # fmt: skip
RANGE_UNITS = ("%", "10*9/L", "per 100 WBC")
_OXFORD = "Oxford University Hospitals, doi 10.3389/fphar.2020.00314 table 6"
_MEDLINE = "MedlinePlus article 003657"
_APL = (
    "Labels by people of the cells of 82 patients (22 with APL, 60 with other AML), Sidhom 2021, doi "
    "10.6084/m9.figshare.14294675: see docs/flags.md"
)
_WBC_HOURS = "EDTA blood is stable for 24 hours at room temperature: stmarysmaine.testcatalog.org/show/WBCD-1"
_FILM = (
    "WBC by film: leukocytes per high-power field x 2,000 per microlitre (ormedmedical.us, table 20), a field of "
    "0.24 mm2; the tolerance is a starting value of this product"
)
_SCHISTOCYTES = (
    "ICSH 2021 (icsh.org): at most 1 % of red cells in adults and term newborns, above it suspect; preterm newborns 5 %"
)
_NONE_IN_BLOOD = "not met in the blood of healthy adults; the laboratory may set its own limit"


def _range(key: str, unit: str, low: float | None, high: float | None, source: str) -> ReferenceRange:
    """Return a range of adults of any sex."""
    return {
        "key": key, "unit": unit, "low": low, "high": high, "sex": "any", "age_from": "18y", "age_under": None,
        "source": source,
    }  # fmt: skip


# Basophils carry no lower limit: in a count of some hundred cells none is met in most healthy people.
_ADULT_RANGES = [
    _range("neutrophils", "10*9/L", 2.0, 7.0, _OXFORD),
    _range("LYT", "10*9/L", 1.0, 3.0, _OXFORD),
    _range("MON", "10*9/L", 0.2, 1.0, _OXFORD),
    _range("EOS", "10*9/L", 0.02, 0.5, _OXFORD),
    _range("BAS", "10*9/L", None, 0.1, _OXFORD),
    _range("neutrophils", "%", 40, 60, _MEDLINE),
    _range("NGB", "%", 0, 3, _MEDLINE),
    _range("LYT", "%", 20, 40, _MEDLINE),
    _range("MON", "%", 2, 8, _MEDLINE),
    _range("EOS", "%", 1, 4, _MEDLINE),
    _range("BAS", "%", None, 1, _MEDLINE),
    *(_range(key, "%", 0, 0, _NONE_IN_BLOOD) for key in ("MMZ", "MYB", "PMO", "PMB", "MYO", "MOB")),
    _range("EBO", "per 100 WBC", 0, 0, _NONE_IN_BLOOD),
]


@dataclass(frozen=True)
class Rules:
    """What a laboratory decided; percentages are of leukocytes, NRBC are per 100 WBC."""

    bands: str = "grouped"
    corrects_wbc: bool = True
    nrbc_correction_from: float = 5.0
    minimum_count: int = 100
    decimals: int = 1
    practical_more_cells: int = 1000
    least_verified: float = 100.0
    release: str = RELEASE_PATHOLOGIST
    release_least_count: int = 100
    release_needs_cbc: bool = True
    four_eyes: str = FOUR_EYES_ALLOWED
    apl_bilobed: int = 1
    apl_promyelocytes: int = 2
    apl_share: float = 75.0
    apl_maturation: float = 2.0
    apl_source: str = _APL
    wbc_hours: float = 24.0
    wbc_hours_source: str = _WBC_HOURS
    film_wbc_per_mm2: float = 0.48
    film_tolerance: float = 10.0
    film_source: str = _FILM
    findings_required: bool = False
    schistocytes_above: float = 1.0
    schistocytes_source: str = _SCHISTOCYTES
    film_by_detector: bool = False
    platelet_field_mm2: float = 0.038
    platelet_factor: float | None = None
    platelet_factor_source: str = ""
    platelet_factor_on: str = ""
    platelet_factor_by: str = ""
    platelet_tolerance: float = 25.0
    flag_rules: list[FlagRule] = field(default_factory=defaults)
    review_rules: list[ReviewRule] = field(default_factory=list)
    delta_rules: list[DeltaRule] = field(default_factory=list)
    suggestion_rules: list[SuggestionRule] = field(default_factory=suggestion_rules.defaults)
    ranges: list[ReferenceRange] = field(default_factory=lambda: [entry.copy() for entry in _ADULT_RANGES])

    def range_for(self, key: str, unit: str, age: Age | None, sex: str) -> ReferenceRange | None:
        """Return the range of a type or group for a person, the one of the person's sex before the one of any sex.

        Without an age only a range of every age applies.
        """
        if (age, sex) not in self._ranges_of:
            own = [
                entry for entry in self.ranges
                if entry["sex"] in ("any", sex) and is_within(age, entry["age_from"], entry["age_under"])
            ]  # fmt: skip
            own.sort(key=lambda entry: entry["sex"] == "any")
            self._ranges_of[age, sex] = {(entry["key"], entry["unit"]): entry for entry in reversed(own)}
        return self._ranges_of[age, sex].get((key, unit))

    @cached_property
    def _ranges_of(self) -> dict[tuple[Age | None, str], dict[tuple[str, str], ReferenceRange]]:
        """The ranges that were looked up, by age and sex: one case asks for its own again at every count."""
        return {}

    def as_dict(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return the policies as they are printed on a report."""
        correction = (
            f"WBC corrected for nucleated red cells from {self.nrbc_correction_from:g} per 100 WBC upward."
            if self.corrects_wbc
            else "WBC not corrected for nucleated red cells: the analyser corrects it."
        )
        return [
            f"{BANDS[self.bands]}.",
            "Smudge cells and nucleated red cells per 100 leukocytes, outside the differential.",
            correction,
            f"Under {self.minimum_count} leukocytes the count is limited.",
            "Percentages with exact (Clopper-Pearson) 95 % intervals, rounded to sum to 100; a count of zero with its "
            "one-sided 95 % upper bound.",
            f"Flags: {self._flag_limits()}.",
            f"Possible APL: bilobed promyelocytes at or above {self.apl_bilobed}; or promyelocytes at or above "
            f"{self.apl_promyelocytes} that are at least {self.apl_share:g} % of promyelocytes and blasts, unless "
            f"myelocytes, metamyelocytes and bands together are {self.apl_maturation:g} times as many.",
            *self._delta_sentences(),
            *self._release_sentences(),
            "A person verifies every counted cell before a signature."
            if self.least_verified == 100
            else f"A person verifies at least {self.least_verified:g} % of the counted cells before a signature; the "
            "others are reported as the detector typed them.",
            *(
                ["Red cells, white cells, platelets and parasites are graded, or said to be not examined."]
                if self.findings_required
                else []
            ),
        ]

    def _delta_sentences(self) -> list[str]:
        """Return the changes that raise an alarm, in one sentence."""
        units = {delta_rules.AMOUNT: "", delta_rules.SHARE: " %"}
        limits = [
            f"{row['title']} from {row['limit']:g}{units[row['measure']]} within {row['span']}"
            for row in self.delta_rules
        ]
        return [f"Changes against the earlier result: {', '.join(limits)}."] if limits else []

    def _release_sentences(self) -> list[str]:
        """Return who may release, where it is not a pathologist alone, whoever verified the cells."""
        found = []
        if self.release == RELEASE_TECHNOLOGIST:
            cbc = ", with a complete blood count" if self.release_needs_cbc else ""
            found.append(
                f"A technologist may release a film of {self.release_least_count} leukocytes or more without flag, "
                f"grave cell type or change{cbc}."
            )
        if self.four_eyes != FOUR_EYES_ALLOWED:
            found.append(f"Second person: {FOUR_EYES[self.four_eyes][0].lower()}{FOUR_EYES[self.four_eyes][1:]}.")
        return found

    def _flag_limits(self) -> str:
        """Return the limits of the flags in one line, those of a title together."""
        limits: dict[str, list[str]] = {}
        for row in self.flag_rules:
            ages = "" if row["age_from"] == "0d" else f" from {row['age_from']}"
            ages += f" under {row['age_under']}" if row["age_under"] else ""
            of_sex = "" if row["sex"] == "any" else f" ({row['sex']})"
            unit = "" if row["unit"] == "cells" else f" {UNITS[row['unit']]}"
            limits.setdefault(row["title"], []).append(
                f"{COMPARISONS[row['comparison']]} {row['limit']:g}{unit}{ages}{of_sex}"
            )
        return "; ".join(f"{title} {', '.join(parts)}" for title, parts in limits.items())


def rules_from(stored: dict) -> Rules:
    """Return checked rules from JSON values; what is absent takes its default.

    Raises
    ------
    Refused
        When a value is unknown, of the wrong kind or out of its limits, or two ranges answer for the same person.
    """
    stored = _of_today(stored)
    known = {f.name for f in fields(Rules)}
    problems = {name: f"There is no rule named {name}." for name in stored if name not in known}
    rules = Rules(**{name: value for name, value in stored.items() if name in known})
    if rules.bands not in BANDS:
        problems["bands"] = f"Choose how bands are reported: {', '.join(BANDS)}."
    if rules.release not in RELEASE:
        problems["release"] = f"Choose who releases: {', '.join(RELEASE)}."
    if rules.four_eyes not in FOUR_EYES:
        problems["four_eyes"] = f"Choose when the same person may release: {', '.join(FOUR_EYES)}."
    if not isinstance(rules.release_needs_cbc, bool):
        problems["release_needs_cbc"] = "Say yes or no to the blood count."
    if not isinstance(rules.corrects_wbc, bool):
        problems["corrects_wbc"] = "Say yes or no to the correction of the WBC."
    if not isinstance(rules.findings_required, bool):
        problems["findings_required"] = "Say yes or no to asking for findings before a signature."
    if not isinstance(rules.film_by_detector, bool):
        problems["film_by_detector"] = "Say yes or no to counting red cells and platelets by the detector."
    problems |= _problems_of_factor(rules)
    for name, least, most in _LIMITS:
        value = getattr(rules, name)
        if not _is_number(value) or not least <= value <= most:
            problems[name] = f"Enter a number from {least:g} to {most:g}."
    for name, least, most in _WHOLE:
        value = getattr(rules, name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems[name] = f"Enter a whole number from {least:,} to {most:,}."
    for name in ("apl_source", "wbc_hours_source", "film_source", "schistocytes_source"):
        value = getattr(rules, name)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= 500:
            problems[name] = "Say where this comes from, in at most 500 characters."
    if problem := problem_of(rules.flag_rules):
        problems["flag_rules"] = problem
    if problem := review_rules.problem_of(rules.review_rules):
        problems["review_rules"] = problem
    if problem := delta_rules.problem_of(rules.delta_rules):
        problems["delta_rules"] = problem
    if problem := suggestion_rules.problem_of(rules.suggestion_rules):
        problems["suggestion_rules"] = problem
    if problem := _problem_of_ranges(rules.ranges):
        problems["ranges"] = problem
    if problems:
        raise Refused(" ".join(problems.values()), fields=problems)
    return rules


_LIMITS = (
    ("nrbc_correction_from", 0, 1000),
    ("least_verified", 0, 100),
    ("apl_share", 0.1, 100),
    ("apl_maturation", 0, 1000),
    ("wbc_hours", 1, 1000),
    ("film_wbc_per_mm2", 0, 100),
    ("film_tolerance", 1.5, 1000),
    ("schistocytes_above", 0, 100),
    ("platelet_field_mm2", 0.001, 10),
    ("platelet_tolerance", 1, 1000),
)
_WHOLE = (
    ("minimum_count", 1, 10_000),
    ("release_least_count", 1, 10_000),
    ("decimals", 0, 2),
    ("practical_more_cells", 0, 10_000),
    ("apl_bilobed", 1, 1000),
    ("apl_promyelocytes", 1, 1000),
)
_RANGE_FIELDS = set(ReferenceRange.__annotations__)


def _of_today(stored: dict[str, Any]) -> dict[str, Any]:
    """Return stored rules in today's form: before version 1.3 ages were years and five flag limits single rules.

    Smudge cells as lymphocytes were a rule of the laboratory; today the signer chooses it for one report.
    """
    today = {name: value for name, value in stored.items() if name not in OLD_LIMITS and name != "smudge_cells"}
    if old := {name: stored[name] for name in OLD_LIMITS if name in stored}:
        today.setdefault("flag_rules", with_old_limits(old))
    if isinstance(today.get("ranges"), list):
        today["ranges"] = [
            {name: bound_of_years(value) if name in ("age_from", "age_under") else value for name, value in r.items()}
            if isinstance(r, dict)
            else r
            for r in today["ranges"]
        ]
    return today


def _problems_of_factor(rules: Rules) -> dict[str, str]:
    """Return what is wrong with the factor from platelets per field to 10^9/L; None says that there is none."""
    problems = {}
    said = {
        "platelet_factor_source": "Say how the factor was validated, in at most 500 characters.",
        "platelet_factor_on": "Enter the day of the validation, as 2026-11-28; it is not in the future.",
        "platelet_factor_by": "Say who validated the factor, in at most 500 characters.",
    }
    if rules.platelet_factor is None:
        return {name: text for name, text in said.items() if not isinstance(getattr(rules, name), str)}
    if not _is_number(rules.platelet_factor) or not 0 < rules.platelet_factor <= 1000:
        problems["platelet_factor"] = "A factor is above 0 and at most 1000. Leave it empty where none is validated."
    for name, text in said.items():
        value = getattr(rules, name)
        is_said = isinstance(value, str) and 0 < len(value.strip()) <= 500
        if not is_said or (name == "platelet_factor_on" and not _is_past_day(value)):
            problems[name] = text
    return problems


def _is_past_day(text: str) -> bool:
    try:
        return date.fromisoformat(text) <= (datetime.now(UTC) + timedelta(hours=14)).date()  # today somewhere
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _problem_of_ranges(ranges: object) -> str:
    """Return what is wrong with a list of ranges, or ""."""
    if not isinstance(ranges, list):
        return "The reference ranges must be a list."
    for number, entry in enumerate(ranges, 1):
        if not isinstance(entry, dict) or set(entry) != _RANGE_FIELDS:
            return f"Range {number} must have these fields: {', '.join(sorted(_RANGE_FIELDS))}."
        if problem := _problem_of_range(entry):
            return f"Range {number} ({entry['key']}): {problem}"
        for other in ranges[: number - 1]:
            if all(entry[name] == other[name] for name in ("key", "unit", "sex")) and _ages_overlap(entry, other):
                return f"Range {number} ({entry['key']}, {entry['unit']}) overlaps in age with another one."
    return ""


def _problem_of_range(entry: Row) -> str:
    """Return what is wrong with one range, or ""."""
    low, high, age_from, age_under = (entry[name] for name in ("low", "high", "age_from", "age_under"))
    if entry["key"] not in RANGE_KEYS:
        return "unknown cell type or group."
    if entry["unit"] not in RANGE_UNITS:
        return f"the unit must be one of {', '.join(RANGE_UNITS)}."
    if entry["sex"] not in ("any", "F", "M"):
        return "the sex must be any, F or M."
    if not str(entry["source"]).strip():
        return "say where the range comes from."
    if any(value is not None and (not _is_number(value) or value < 0) for value in (low, high)):
        return "limits must be numbers, zero or more."
    if not is_bound(age_from) or not (age_under is None or is_bound(age_under)):
        return "write ages as 3d, 6m or 2y."
    if low is None and high is None:
        return "give a lower or an upper limit."
    if low is not None and high is not None and low > high:
        return "the lower limit is above the upper limit."
    if days_of(age_under) <= days_of(age_from):
        return "the ages are empty: 'under' must be above 'from'."
    return ""


def _ages_overlap(one: Row, other: Row) -> bool:
    """Say whether two ranges answer for the same age."""
    return days_of(one["age_from"]) < days_of(other["age_under"]) and days_of(other["age_from"]) < days_of(
        one["age_under"]
    )
