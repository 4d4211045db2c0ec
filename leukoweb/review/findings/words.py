"""What is said of findings in one line, the same in every form of a report; pure."""

from leukoweb.review.findings.parts import GroupPart, ItemPart


def findings_words(group: GroupPart | None) -> str:
    """Return what is said of one part of the film in one line."""
    if group is None:
        return ""
    whole = [f"{group['text']}{noted(group['note'])}"] if group["text"] else []
    items = [f"{item['name']} {finding_words(item)}" for item in group["items"]]
    return "; ".join([*whole, *items])


def finding_words(item: ItemPart) -> str:
    """Return what is said of one finding: grade, count and note."""
    return ", ".join(text for text in (item["text"], item.get("count", "")) if text) + noted(item["note"])


def noted(note: str) -> str:
    """Return a note in brackets, as it follows a grade."""
    return f" ({note})" if note else ""
