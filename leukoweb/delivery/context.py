"""What the worklist says of results that did not arrive; the worklist itself lies below this room."""

from django.http import HttpRequest

from leukoweb.delivery.outbox import undelivered_messages

MOST = 20


def undelivered_results(request: HttpRequest) -> dict[str, list]:
    """Give the worklist the results of signed cases that no receiver has acknowledged, the newest first."""
    place = request.resolver_match
    if place is None or place.url_name != "worklist" or not request.user.is_authenticated:
        return {}
    owed = undelivered_messages(request.user.laboratory_id).select_related("case", "interface").defer("raw", "answer")
    return {"undelivered_results": list(owed[:MOST])}
