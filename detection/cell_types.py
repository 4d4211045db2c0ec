"""The 15 leukocyte types in the order of the detector's class index, with the one table of their names.

Codes follow AML-Cytomorphology_LMU; pages and paper show `label` or `short`, exports and the API the code. Red cells
and platelets are no types of a differential: a second network finds them. This module imports nothing of ours; figures
of detectors are left to their cards.

References
----------
Matek et al. 2019, The Cancer Imaging Archive, doi 10.7937/tcia.2019.36f5o9ld.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """One of the 15 types; `color` is an sRGB hex string that is never shown without a name."""

    index: int
    code: str
    name: str
    lineage: str
    stage: int | None
    color: str
    short: str
    in_differential: bool = True

    @property
    def label(self) -> str:
        """Return the name as a heading or a line of a table begins: "Segmented neutrophil"."""
        return self.name[0].upper() + self.name[1:]

    @property
    def plural(self) -> str:
        """Return the name of a line of a differential, as a laboratory writes it: "Segmented neutrophils"."""
        return "Nucleated red cells" if self.code == "EBO" else f"{self.label}s"

    @property
    def is_blast(self) -> bool:
        """Whether the type is a blast: myeloblast or monoblast."""
        return self.lineage == "blast"

    @property
    def is_promyelocyte(self) -> bool:
        """Whether the type is a promyelocyte, bilobed or not."""
        return self.code in ("PMO", "PMB")

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Codes of the types whose border to this one even experts draw differently."""
        return tuple(b if a == self.code else a for a, b in NEIGHBOURS if self.code in (a, b))


# MYO is the myeloBLAST, MYB the myelOCYTE: a swap turns acute leukaemia into a left shift.
CELL_TYPES = (
    CellType(0, "BAS", "basophil", "granulocyte", None, "#4b3fbb", "Baso"),
    CellType(1, "EBO", "erythroblast", "red", None, "#c2410c", "NRBC", in_differential=False),
    CellType(2, "EOS", "eosinophil", "granulocyte", None, "#dd6b20", "Eos"),
    CellType(3, "KSC", "smudge cell", "damaged", None, "#6b7280", "Smudge", in_differential=False),
    CellType(4, "LYA", "atypical lymphocyte", "lymphoid", None, "#0e7490", "Atyp lymph"),
    CellType(5, "LYT", "lymphocyte", "lymphoid", None, "#0284c7", "Lymph"),
    CellType(6, "MMZ", "metamyelocyte", "neutrophil", 4, "#65a30d", "Meta"),
    CellType(7, "MOB", "monoblast", "blast", None, "#9f1239", "Monoblast"),
    CellType(8, "MON", "monocyte", "monocyte", None, "#0f766e", "Mono"),
    CellType(9, "MYB", "myelocyte", "neutrophil", 3, "#a16207", "Myelocyte"),
    CellType(10, "MYO", "myeloblast", "blast", 1, "#dc2626", "Myeloblast"),
    CellType(11, "NGB", "band neutrophil", "neutrophil", 5, "#16a34a", "Band"),
    CellType(12, "NGS", "segmented neutrophil", "neutrophil", 6, "#15803d", "Seg"),
    CellType(13, "PMB", "bilobed promyelocyte", "promyelocyte", None, "#c026d3", "Promyelo bi"),
    CellType(14, "PMO", "promyelocyte", "neutrophil", 2, "#a21caf", "Promyelo"),
)
CODES = tuple(cell_type.code for cell_type in CELL_TYPES)
BY_CODE = {cell_type.code: cell_type for cell_type in CELL_TYPES}
BLASTS = tuple(cell_type.code for cell_type in CELL_TYPES if cell_type.is_blast)
PROMYELOCYTES = tuple(cell_type.code for cell_type in CELL_TYPES if cell_type.is_promyelocyte)

# Pairs whose border even experts draw differently: one stage of maturation apart, and the blasts among themselves.
NEIGHBOURS = (
    ("NGS", "NGB"), ("NGB", "MMZ"), ("MMZ", "MYB"), ("MYB", "PMO"), ("PMO", "MYO"), ("PMO", "PMB"),
    ("LYA", "LYT"), ("MYO", "MOB"), ("MON", "MOB"), ("MON", "MYO"),
)  # fmt: skip

# What a reader may call a finding besides the 15 types.
UNIDENTIFIED = "UNI"  # a leukocyte whose type cannot be told
NOT_A_CELL = "NOT"
BESIDE_THE_TYPES = {UNIDENTIFIED: "Unidentified", NOT_A_CELL: "Not a cell"}

# What a second, small network finds, as help beside the differential; the order is its class index.
RED_CELL, PLATELET = "RBC", "PLT"
FILM_CODES = (RED_CELL, PLATELET)


def classes_of(codes: Iterable[str]) -> tuple[str, ...]:
    """Return the classes of the network that finds these: the 15 types, or red cells and platelets.

    Raises
    ------
    ValueError
        Where both are among them: no network finds both.
    """
    found = set(codes)
    if not found & set(FILM_CODES):
        return CODES
    if found - set(FILM_CODES):
        raise ValueError(
            "Leukocytes and red cells or platelets are labelled: a network finds the ones or the others. Leave out the "
            "ones by a class map with lines `name: none`."
        )
    return FILM_CODES


def label_of(code: str) -> str:
    """Return the name of a type as a heading begins: "Segmented neutrophil"; what is no type stays as it is."""
    return BY_CODE[code].label if code in BY_CODE else BESIDE_THE_TYPES.get(code, code)
