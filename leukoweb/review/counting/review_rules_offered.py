"""Review rules that a laboratory may start from: read in a public source, off until an administrator activates them.

The 41 rules of the International Consensus Group for Hematology Review are not among them: their text was not at hand.

References
----------
ClinLab Navigator, Peripheral Blood Smear Review, typical criteria A and B: clinlabnavigator.com/
peripheral-blood-smear-review.html. Its units of counts are printed per dL; the numbers are those per uL.
"""

from leukoweb.review.counting.ages import FROM_BIRTH
from leukoweb.review.counting.review_rules import ReviewRule

SOURCE = "ClinLab Navigator, Peripheral Blood Smear Review, typical criteria"
_CRITERIA = (  # title, condition, a case that meets it, one that does not
    ("White blood cells low", "WBC < 1", "WBC 0.9", "WBC 1"),
    ("White blood cells high", "WBC > 50", "WBC 50.1", "WBC 50"),
    ("Haemoglobin low", "HGB < 60", "HGB 59", "HGB 60"),
    ("Red blood cells high", "RBC > 8.6", "RBC 8.7", "RBC 8.6"),
    ("Mean cell volume low", "MCV < 70", "MCV 69", "MCV 70"),
    ("Mean cell volume high", "MCV > 105", "MCV 106", "MCV 105"),
    ("Platelets low", "PLT < 100", "PLT 99", "PLT 100"),
    ("Platelets high", "PLT > 999", "PLT 1000", "PLT 999"),
    ("Nucleated red cells", "NRBC > 5", "NRBC 6", "NRBC 5"),
    ("Lymphocytes high", "LYM# > 5", "LYM# 5.1", "LYM# 5"),
    ("Monocytes high", "MON# > 1.5", "MON# 1.6", "MON# 1.5"),
    ("Eosinophils high", "EOS# > 2", "EOS# 2.1", "EOS# 2"),
    ("Basophils high", "BAS# > 0.5", "BAS# 0.6", "BAS# 0.5"),
    ("Immature granulocytes", "IG% > 4", "IG% 4.1", "IG% 4"),
)
OFFERED: list[ReviewRule] = [
    {
        "key": title.lower().replace(" ", "_"), "title": title, "when": when, "action": "film", "sex": "any",
        "age_from": FROM_BIRTH, "age_under": None, "true_case": true, "false_case": false, "source": SOURCE,
    }
    for title, when, true, false in _CRITERIA
]  # fmt: skip
