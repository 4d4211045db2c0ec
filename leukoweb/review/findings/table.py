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

RED, WHITE, PLATELETS, PARASITES, OTHER = "red_cells", "white_cells", "platelets", "parasites", "other"
NORMAL, NOT_EXAMINED, SEEN, NOT_SEEN = "normal", "not_examined", "seen", "not_seen"
PRESENCE, GRADE, ADEQUACY = "presence", "grade", "adequacy"
GRADINGS: dict[str, dict[str, str]] = {
    PRESENCE: {"0": "not seen", "1": "seen"},
    GRADE: {"0": "not seen", "1": "1+", "2": "2+", "3": "3+"},
    ADEQUACY: {"1": "decreased", "2": "adequate", "3": "increased"},
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


_WHOLE = {NORMAL: "normal", NOT_EXAMINED: "not examined"}
GROUPS = {
    group.key: group
    for group in (
        Group(RED, "Red cells", _WHOLE, "6742-1", _MORPHOLOGY.format("erythrocyte"), True),
        Group(WHITE, "White cell morphology", _WHOLE, "11156-7", _MORPHOLOGY.format("leukocyte"), True),
        Group(PLATELETS, "Platelets", _WHOLE, "11125-2", _MORPHOLOGY.format("platelet"), True),
        Group(PARASITES, "Parasites", {SEEN: "seen", NOT_SEEN: "not seen", NOT_EXAMINED: "not looked for"}, "", _OWN,
              True),
        Group(OTHER, "Film", _WHOLE, "5909-7", _MORPHOLOGY.format("smear"), False),
    )
}  # fmt: skip


def _items(group: str, source: str, *rows: tuple[str, str, str, str]) -> Iterable[Item]:
    for key, name, grading, loinc in rows:
        per = "red cells" if key == "schistocytes" else ""
        yield Item(key, name, group, grading, loinc, _MORPHOLOGY.format(source), per)


ITEMS = {
    item.key: item
    for item in (
        *_items(
            RED, "erythrocyte",
            ("anisocytosis", "Anisocytosis", GRADE, "702-1"),
            ("microcytes", "Microcytes", GRADE, "741-9"),
            ("macrocytes", "Macrocytes", GRADE, "738-5"),
            ("oval_macrocytes", "Oval macrocytes", GRADE, "10376-2"),
            ("hypochromia", "Hypochromia", GRADE, "728-6"),
            ("hyperchromia", "Hyperchromia", GRADE, "33249-4"),
            ("polychromasia", "Polychromasia", GRADE, "10378-8"),
            ("poikilocytosis", "Poikilocytosis", GRADE, "779-9"),
            ("schistocytes", "Schistocytes", GRADE, "800-3"),
            ("spherocytes", "Spherocytes", GRADE, "802-9"),
            ("target_cells", "Target cells", GRADE, "10381-2"),
            ("sickle_cells", "Sickle cells", GRADE, "801-1"),
            ("teardrop_cells", "Teardrop cells", GRADE, "7791-7"),
            ("elliptocytes", "Elliptocytes", GRADE, "11274-8"),
            ("ovalocytes", "Ovalocytes", GRADE, "774-0"),
            ("pencil_cells", "Pencil cells", GRADE, "10377-0"),
            ("stomatocytes", "Stomatocytes", GRADE, "10380-4"),
            ("acanthocytes", "Acanthocytes", GRADE, "7789-1"),
            ("burr_cells", "Burr cells", GRADE, "7790-9"),
            ("bite_cells", "Bite cells", GRADE, "10371-3"),
            ("blister_cells", "Blister cells", GRADE, "10372-1"),
            ("helmet_cells", "Helmet cells", GRADE, "10374-7"),
            ("prekeratocytes", "Prekeratocytes", GRADE, "50260-9"),
            ("irregular_cells", "Irregularly contracted cells", GRADE, "10375-4"),
            ("fragments", "Fragments", GRADE, "10373-9"),
            ("rouleaux", "Rouleaux", GRADE, "7797-4"),
            ("dual_population", "Dual population", PRESENCE, "10379-6"),
            ("basophilic_stippling", "Basophilic stippling", GRADE, "703-9"),
            ("howell_jolly", "Howell-Jolly bodies", PRESENCE, "7793-3"),
            ("pappenheimer", "Pappenheimer bodies", PRESENCE, "7795-8"),
            ("heinz", "Heinz bodies", PRESENCE, "716-1"),
            ("cabot", "Cabot rings", PRESENCE, "11280-5"),
        ),
        *_items(
            WHITE, "leukocyte",
            ("toxic_granules", "Toxic granules", GRADE, "803-7"),
            ("dohle", "Döhle bodies", GRADE, "7792-5"),
            ("vacuolated", "Vacuolated neutrophils", GRADE, "18319-4"),
            ("hypersegmented", "Hypersegmented neutrophils", GRADE, "765-8"),
            ("agranular", "Agranular neutrophils", GRADE, "33215-5"),
            ("pelger_huet", "Pelger-Huët cells", GRADE, "18311-1"),
            ("auer_rods", "Auer rods", PRESENCE, "11281-3"),
            ("sezary", "Sézary cells", PRESENCE, "13048-4"),
        ),
        *_items(PLATELETS, "smear", ("platelet_adequacy", "Platelets on the film", ADEQUACY, "9317-9")),
        *_items(
            PLATELETS, "platelet",
            ("platelet_clumps", "Platelet clumps", GRADE, "7796-6"),
            ("satellitism", "Platelet satellitism", PRESENCE, "18312-9"),
            ("giant_platelets", "Giant platelets", GRADE, "5908-9"),
            ("large_platelets", "Large platelets", GRADE, "32146-3"),
            ("small_platelets", "Small platelets", GRADE, "32208-1"),
            ("agranular_platelets", "Agranular platelets", GRADE, "33216-3"),
        ),
        *_items(
            OTHER, "smear",
            ("background_stain", "Background stain", GRADE, "18280-8"),
            ("fibrin", "Fibrin strands", PRESENCE, "32778-3"),
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


def is_abnormal(key: str, value: str) -> bool:
    """Say whether a finding contradicts that its group is normal."""
    item = ITEMS.get(key)
    return item is not None and value not in ("", "2" if item.grading == ADEQUACY else "0")
