"""The sums of cell types that a differential gives beside the types: key to name and codes."""

from detection.cell_types import BLASTS, PROMYELOCYTES

GROUPS = {
    "neutrophils": ("Neutrophils", ("NGS", "NGB")),
    "blasts": ("Blasts", BLASTS),
    "promyelocytes": ("Promyelocytes", PROMYELOCYTES),
}
