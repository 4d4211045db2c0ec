"""A laboratory's rules of counting and flagging: the choices, their defaults and their checks; it knows no counts.

Each default is a starting point that a laboratory edits; what was in force is printed on every report it shaped.

References
----------
Adult ranges: absolute counts as used by Oxford University Hospitals, in Frontiers in Pharmacology 2020;11:314, table 6
(doi 10.3389/fphar.2020.00314); percentages from MedlinePlus, "Blood differential test"
(medlineplus.gov/ency/article/003657).
"""

from dataclasses import asdict, dataclass, field, fields

from leukoweb.refusals import Refused

BANDS = {
    "grouped": "Bands counted with segmented neutrophils",
    "grouped_left_shift": "Bands grouped, with a comment on left shift",
    "separate": "Bands reported separately",
}
SMUDGE_CELLS = {
    "per_100_wbc": "Smudge cells per 100 leukocytes, outside the differential",
    "as_lymphocytes": "Smudge cells counted as lymphocytes",
}
RANGE_KEYS = (
    "neutrophils", "NGS", "NGB", "LYT", "LYA", "MON", "EOS", "BAS", "MMZ", "MYB", "PMO", "PMB", "MYO", "MOB",
    "blasts", "promyelocytes", "EBO", "KSC",
)  # fmt: skip
RANGE_UNITS = ("%", "10*9/L", "per 100 WBC")
_OXFORD = "Oxford University Hospitals, doi 10.3389/fphar.2020.00314 table 6"
_MEDLINE = "MedlinePlus article 003657"
_NONE_IN_BLOOD = "not met in the blood of healthy adults; the laboratory may set its own limit"


def _range(key, unit, low, high, source):
    """Return a range of adults of any sex."""
    return {
        "key": key, "unit": unit, "low": low, "high": high, "sex": "any", "age_from": 18, "age_under": None,
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
    smudge_cells: str = "per_100_wbc"
    corrects_wbc: bool = True
    nrbc_correction_from: float = 5.0
    minimum_count: int = 100
    decimals: int = 1
    blasts_first_limit: float = 5.0
    blasts_second_limit: float = 20.0
    lya_limit: float = 5.0
    left_shift_limit: float = 10.0
    nrbc_limit: float = 5.0
    least_verified: float = 100.0
    ranges: list = field(default_factory=lambda: [dict(entry) for entry in _ADULT_RANGES])

    def range_for(self, key: str, unit: str, age_years: float | None, sex: str) -> dict | None:
        """Return the range of a type or group for a person, the one of the person's sex before the one of any sex.

        None without an age, because no range here is for everybody.
        """
        if age_years is None:
            return None
        fitting = [
            entry for entry in self.ranges
            if entry["key"] == key and entry["unit"] == unit and entry["sex"] in ("any", sex)
            and entry["age_from"] <= age_years and (entry["age_under"] is None or age_years < entry["age_under"])
        ]  # fmt: skip
        return min(fitting, key=lambda entry: entry["sex"] == "any", default=None)

    def as_dict(self) -> dict:
        """Return the rules as JSON values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return the policies as they are printed on a report."""
        correction = (
            f"WBC corrected for erythroblasts from {self.nrbc_correction_from:g} per 100 WBC upward."
            if self.corrects_wbc
            else "WBC not corrected for erythroblasts: the analyser corrects it."
        )
        return [
            f"{BANDS[self.bands]}.",
            f"{SMUDGE_CELLS[self.smudge_cells]}.",
            "Erythroblasts per 100 leukocytes, outside the differential.",
            correction,
            f"Under {self.minimum_count} leukocytes the count is limited.",
            "Percentages with exact (Clopper-Pearson) 95 % intervals, rounded to sum to 100; a count of zero with its "
            "one-sided 95 % upper bound.",
            f"Flag limits: blasts {self.blasts_first_limit:g} % and {self.blasts_second_limit:g} %, "
            f"atypical lymphocytes {self.lya_limit:g} %, left shift {self.left_shift_limit:g} %, "
            f"erythroblasts {self.nrbc_limit:g} per 100 WBC.",
            "A person verifies every counted cell before a signature."
            if self.least_verified == 100
            else f"A person verifies at least {self.least_verified:g} % of the counted cells before a signature; the "
            "others are reported as the detector typed them.",
        ]


def rules_from(stored: dict) -> Rules:
    """Return checked rules from JSON values; what is absent takes its default.

    Raises
    ------
    Refused
        When a value is unknown, of the wrong kind or out of its limits, or two ranges answer for the same person.
    """
    known = {f.name for f in fields(Rules)}
    problems = {name: f"There is no rule named {name}." for name in stored if name not in known}
    rules = Rules(**{name: value for name, value in stored.items() if name in known})
    if rules.bands not in BANDS:
        problems["bands"] = f"Choose how bands are reported: {', '.join(BANDS)}."
    if rules.smudge_cells not in SMUDGE_CELLS:
        problems["smudge_cells"] = f"Choose how smudge cells are counted: {', '.join(SMUDGE_CELLS)}."
    if not isinstance(rules.corrects_wbc, bool):
        problems["corrects_wbc"] = "Say yes or no to the correction of the WBC."
    for name, least, most in _LIMITS:
        value = getattr(rules, name)
        if not _is_number(value) or not least <= value <= most:
            problems[name] = f"Enter a number from {least:g} to {most:g}."
    for name, least, most in (("minimum_count", 1, 10_000), ("decimals", 1, 2)):
        value = getattr(rules, name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems[name] = f"Enter a whole number from {least:,} to {most:,}."
    if not problems and rules.blasts_first_limit >= rules.blasts_second_limit:
        problems["blasts_second_limit"] = "The second limit of blasts must be above the first."
    if problem := _problem_of_ranges(rules.ranges):
        problems["ranges"] = problem
    if problems:
        raise Refused(" ".join(problems.values()), fields=problems)
    return rules


_LIMITS = (
    ("nrbc_correction_from", 0, 1000),
    ("blasts_first_limit", 0.1, 100),
    ("blasts_second_limit", 0.1, 100),
    ("lya_limit", 0.1, 100),
    ("left_shift_limit", 0.1, 100),
    ("nrbc_limit", 0.1, 1000),
    ("least_verified", 0, 100),
)
_RANGE_FIELDS = {"key", "unit", "low", "high", "sex", "age_from", "age_under", "source"}


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _problem_of_ranges(ranges):
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


def _problem_of_range(entry):
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
    numbers = [value for value in (low, high, age_under) if value is not None] + [age_from]
    if any(not _is_number(value) or value < 0 for value in numbers):
        return "limits and ages must be numbers, zero or more."
    if low is None and high is None:
        return "give a lower or an upper limit."
    if low is not None and high is not None and low > high:
        return "the lower limit is above the upper limit."
    if age_under is not None and age_under <= age_from:
        return "the ages are empty: 'under' must be above 'from'."
    return ""


def _ages_overlap(one, other):
    """Say whether two ranges answer for the same age."""
    ends = [float("inf") if r["age_under"] is None else r["age_under"] for r in (one, other)]
    return one["age_from"] < ends[1] and other["age_from"] < ends[0]
