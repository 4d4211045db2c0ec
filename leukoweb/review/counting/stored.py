"""What a signed report stored, counted again under rules: also reports of earlier versions."""

from collections.abc import Mapping
from typing import Any

from leukoweb.review.counting.ages import age_from, bound_of_years
from leukoweb.review.counting.differential import Differential, count_differential, wbc_from
from leukoweb.review.counting.policies import Rules


def counted_again(content: Mapping[str, Any], counts: Mapping[str, int], rules: Rules) -> Differential:
    """Return the differential of these counts for the person, WBC and choices of a report.

    Parameters
    ----------
    content : mapping
        The content of a report, as it was signed.
    counts : mapping of str to int
        Cells by label.
    rules : Rules

    Raises
    ------
    KeyError, TypeError
        When the content is no report's.
    """
    return count_differential(
        counts,
        rules,
        wbc=wbc_from(content["specimen"]["wbc"]),
        age=age_from(content["patient"]),
        sex=content["patient"]["sex"],
        smudge_as_lymphocytes=_counts_smudge_cells(content),
    )


def of_today(differential: Any) -> Any:
    """Return the figures that a report stored, with ages of ranges written as today: before version 1.3 in years."""
    if isinstance(differential, dict):
        return {
            name: bound_of_years(value) if name in ("age_from", "age_under") else of_today(value)
            for name, value in differential.items()
        }
    if isinstance(differential, list):
        return [of_today(value) for value in differential]
    return differential


def without_exact_shares(differential: Any, stored: Any) -> Any:
    """Return recounted figures as a report of before version 1.3 stored them: a rare type rounded down to 0."""
    rows = {row["key"]: row for row in (*stored["rows"], *stored["groups"].values(), stored["unidentified"])}

    def row_of(row: dict[str, Any]) -> dict[str, Any]:
        before = rows.get(row["key"], {}).get("percent")
        return {**row, "percent": 0.0} if before == 0.0 and row["percent"] and row["percent"] < 1 else row

    return {
        **differential,
        "rows": [row_of(row) for row in differential["rows"]],
        "unidentified": row_of(differential["unidentified"]),
        "groups": {key: row_of(row) for key, row in differential["groups"].items()},
    }


def _counts_smudge_cells(content: Mapping[str, Any]) -> bool:
    """Say whether smudge cells are lymphocytes: the signer's choice; before version 1.3 a rule of the laboratory."""
    if "smudge_as_lymphocytes" in content["report"]:
        return bool(content["report"]["smudge_as_lymphocytes"])
    return content["policies"]["rules"].get("smudge_cells") == "as_lymphocytes"
