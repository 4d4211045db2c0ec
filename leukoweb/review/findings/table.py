"""The findings that a film can be graded for, as one coded table with its sources; it stores nothing.

Notes
-----
LOINC codes: the value sets of erythrocyte (58408-6), leukocyte (58407-8), platelet (58406-0) and smear (34994-4)
morphology in blood, nmdp-ig/cibmtr-reporting-ig, Apache-2.0; LOINC (c) Regenstrief Institute. Left out of the table:
normochromic and normocytic (said by "normal"), pyknosis and smudge cells (counted with the leukocytes). A finding
without a code there has none here. LOINC names each of them "[Presence]": grading from 1+ to 3+ is this product's
choice, and the laboratory's words for a grade are its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

RED, WHITE, PLATELETS, PARASITES, OTHER = "red_cells", "white_cells", "platelets", "parasites", "other"
NORMAL, NOT_EXAMINED, SEEN, NOT_SEEN = "normal", "not_examined", "seen", "not_seen"
PRESENCE, GRADE, ADEQUACY = "presence", "grade", "adequacy"
GRADINGS: dict[str, dict[str, str]] = {
    PRESENCE: {"0": _("not seen"), "1": _("seen")},
    GRADE: {"0": _("not seen"), "1": "1+", "2": "2+", "3": "3+"},
    ADEQUACY: {"1": _("decreased"), "2": _("adequate"), "3": _("increased")},
}
_MORPHOLOGY = "nmdp-ig/cibmtr-reporting-ig, value set {}-morphology-blood"
_OWN = "no code in the value sets at hand"


@dataclass(frozen=True)
class Group:
    """A part of the film: `values` are what can be said of it as a whole; `is_asked` before every signature."""

    key: str
    name: str
    values: dict[str, str]
    loinc: str
    source: str
    is_asked: bool


@dataclass(frozen=True)
class Item:
    """One finding; `counted_per` names what it can be counted among, "" where it is graded only."""

    key: str
    name: str
    group: str
    grading: str
    loinc: str
    source: str
    counted_per: str = ""

    @property
    def values(self) -> dict[str, str]:
        """What can be said of it, with the words of the report."""
        return GRADINGS[self.grading]


_PARASITES = {SEEN: _("seen"), NOT_SEEN: _("not seen"), NOT_EXAMINED: _("not looked for")}
_WHOLE = {NORMAL: _("normal"), NOT_EXAMINED: _("not examined")}
GROUPS = {
    group.key: group
    for group in (
        Group(RED, _("Red cells"), _WHOLE, "6742-1", _MORPHOLOGY.format("erythrocyte"), True),
        Group(WHITE, _("White cell morphology"), _WHOLE, "11156-7", _MORPHOLOGY.format("leukocyte"), True),
        Group(PLATELETS, _("Platelets"), _WHOLE, "11125-2", _MORPHOLOGY.format("platelet"), True),
        Group(PARASITES, _("Parasites"), _PARASITES, "", _OWN, True),
        Group(OTHER, _("Film"), _WHOLE, "5909-7", _MORPHOLOGY.format("smear"), False),
    )
}  # fmt: skip


def _items(group: str, source: str, *rows: tuple[str, str, str, str]) -> Iterable[Item]:
    for key, name, grading, loinc in rows:
        per = _("red cells") if key == "schistocytes" else ""
        yield Item(key, name, group, grading, loinc, _MORPHOLOGY.format(source), per)


ITEMS = {
    item.key: item
    for item in (
        *_items(
            RED, "erythrocyte",
            ("anisocytosis", _("Anisocytosis"), GRADE, "702-1"),
            ("microcytes", _("Microcytes"), GRADE, "741-9"),
            ("macrocytes", _("Macrocytes"), GRADE, "738-5"),
            ("oval_macrocytes", _("Oval macrocytes"), GRADE, "10376-2"),
            ("hypochromia", _("Hypochromia"), GRADE, "728-6"),
            ("hyperchromia", _("Hyperchromia"), GRADE, "33249-4"),
            ("polychromasia", _("Polychromasia"), GRADE, "10378-8"),
            ("poikilocytosis", _("Poikilocytosis"), GRADE, "779-9"),
            ("schistocytes", _("Schistocytes"), GRADE, "800-3"),
            ("spherocytes", _("Spherocytes"), GRADE, "802-9"),
            ("target_cells", _("Target cells"), GRADE, "10381-2"),
            ("sickle_cells", _("Sickle cells"), GRADE, "801-1"),
            ("teardrop_cells", _("Teardrop cells"), GRADE, "7791-7"),
            ("elliptocytes", _("Elliptocytes"), GRADE, "11274-8"),
            ("ovalocytes", _("Ovalocytes"), GRADE, "774-0"),
            ("pencil_cells", _("Pencil cells"), GRADE, "10377-0"),
            ("stomatocytes", _("Stomatocytes"), GRADE, "10380-4"),
            ("acanthocytes", _("Acanthocytes"), GRADE, "7789-1"),
            ("burr_cells", _("Burr cells"), GRADE, "7790-9"),
            ("bite_cells", _("Bite cells"), GRADE, "10371-3"),
            ("blister_cells", _("Blister cells"), GRADE, "10372-1"),
            ("helmet_cells", _("Helmet cells"), GRADE, "10374-7"),
            ("prekeratocytes", _("Prekeratocytes"), GRADE, "50260-9"),
            ("irregular_cells", _("Irregularly contracted cells"), GRADE, "10375-4"),
            ("fragments", _("Fragments"), GRADE, "10373-9"),
            ("rouleaux", _("Rouleaux"), GRADE, "7797-4"),
            ("dual_population", _("Dual population"), PRESENCE, "10379-6"),
            ("basophilic_stippling", _("Basophilic stippling"), GRADE, "703-9"),
            ("howell_jolly", _("Howell-Jolly bodies"), PRESENCE, "7793-3"),
            ("pappenheimer", _("Pappenheimer bodies"), PRESENCE, "7795-8"),
            ("heinz", _("Heinz bodies"), PRESENCE, "716-1"),
            ("cabot", _("Cabot rings"), PRESENCE, "11280-5"),
        ),
        *_items(
            WHITE, "leukocyte",
            ("toxic_granules", _("Toxic granules"), GRADE, "803-7"),
            ("dohle", _("Döhle bodies"), GRADE, "7792-5"),
            ("vacuolated", _("Vacuolated neutrophils"), GRADE, "18319-4"),
            ("hypersegmented", _("Hypersegmented neutrophils"), GRADE, "765-8"),
            ("agranular", _("Agranular neutrophils"), GRADE, "33215-5"),
            ("pelger_huet", _("Pelger-Huët cells"), GRADE, "18311-1"),
            ("auer_rods", _("Auer rods"), PRESENCE, "11281-3"),
            ("sezary", _("Sézary cells"), PRESENCE, "13048-4"),
        ),
        *_items(PLATELETS, "smear", ("platelet_adequacy", _("Platelets on the film"), ADEQUACY, "9317-9")),
        *_items(
            PLATELETS, "platelet",
            ("platelet_clumps", _("Platelet clumps"), GRADE, "7796-6"),
            ("satellitism", _("Platelet satellitism"), PRESENCE, "18312-9"),
            ("giant_platelets", _("Giant platelets"), GRADE, "5908-9"),
            ("large_platelets", _("Large platelets"), GRADE, "32146-3"),
            ("small_platelets", _("Small platelets"), GRADE, "32208-1"),
            ("agranular_platelets", _("Agranular platelets"), GRADE, "33216-3"),
        ),
        *_items(
            OTHER, "smear",
            ("background_stain", _("Background stain"), GRADE, "18280-8"),
            ("fibrin", _("Fibrin strands"), PRESENCE, "32778-3"),
        ),
    )
}  # fmt: skip


def items_of(group: str) -> list[Item]:
    """Return the findings of a group in the order of the pages."""
    return [item for item in ITEMS.values() if item.group == group]


def values_of(key: str) -> dict[str, str]:
    """Return what can be said of a finding or group, with the words of the report; empty where the key is unknown."""
    known: Item | Group | None = ITEMS.get(key) or GROUPS.get(key)
    return known.values if known else {}


def amount_of(key: str, value: str) -> float | None:
    """Return what was marked as a number: a grade as it is, seen 1, not seen and normal 0; None where nothing is."""
    if key in GROUPS:
        return {NORMAL: 0.0, NOT_SEEN: 0.0, SEEN: 1.0}.get(value)
    return float(value) if value else None


def is_abnormal(key: str, value: str) -> bool:
    """Say whether a finding contradicts that its group is normal."""
    item = ITEMS.get(key)
    return item is not None and value not in ("", "2" if item.grading == ADEQUACY else "0")
