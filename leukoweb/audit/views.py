"""The audit page of administrators, its CSV and the head of the chain; patient values are not shown here."""

import csv
import json
from collections.abc import Iterator

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from leukoweb.accounts.access import requires
from leukoweb.audit.actions import Action
from leukoweb.audit.models import Event, in_words
from leukoweb.audit.services import head_of, record
from leukoweb.given import whole_number
from leukoweb.spreadsheets import BYTE_ORDER_MARK, safe

PAGE_ROWS = 100
# Administrators do not read cases: of a case or patient they see these values, of others that they changed.
SHOWN = {"cells", "code", "count", "detector", "flag", "format", "from", "images", "meaning"} | {
    "priority", "seal", "stain", "step", "to", "version"}  # fmt: skip


class EventFilter(forms.Form):
    """What the list is narrowed to; a value that makes no sense narrows nothing."""

    actor = forms.ModelChoiceField(
        get_user_model().objects.none(),
        required=False,
        label=gettext_lazy("Person"),
        empty_label=gettext_lazy("Anybody"),
    )
    action = forms.ChoiceField(required=False)
    case = forms.IntegerField(required=False, min_value=1, max_value=2**62, label=gettext_lazy("Case id"))
    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    reads = forms.ChoiceField(
        required=False,
        label=gettext_lazy("Show"),
        choices=[
            ("", gettext_lazy("Everything")),
            ("changes", gettext_lazy("Changes only")),
            ("reads", gettext_lazy("Reads only")),
        ],
    )

    def __init__(self, query: QueryDict) -> None:
        super().__init__(query or None)
        self.fields["actor"].queryset = get_user_model().objects.all()
        self.fields["action"].choices = [("", "Any"), *sorted(Action.choices)]

    def narrow(self, events: QuerySet[Event]) -> QuerySet[Event]:
        """Return the events that fit the fields that make sense."""
        self.full_clean()
        chosen = getattr(self, "cleaned_data", {})
        lookups = {"actor": "actor", "action": "action", "case": "case_id"}
        lookups |= {"since": "at__date__gte", "until": "at__date__lte"}
        events = events.filter(**{lookup: chosen[name] for name, lookup in lookups.items() if chosen.get(name)})
        if chosen.get("reads") == "reads":
            return events.filter(action__endswith=".read")
        return events.exclude(action__endswith=".read") if chosen.get("reads") else events


@requires("read_audit")
@require_safe
def audit_log(request: HttpRequest) -> HttpResponse:
    """List events, newest first, by key and not by page number: the table only grows."""
    form = EventFilter(request.GET)
    events = form.narrow(Event.objects.visible_to(request.user)).order_by("-id")
    if (before := whole_number(request.GET.get("before"))) is not None:
        events = events.filter(id__lt=before)
    rows = list(events[: PAGE_ROWS + 1])
    query = request.GET.copy()
    query.pop("before", None)
    return render(
        request,
        "audit/audit_log.html",
        {
            "form": form,
            "rows": [(event, in_words(shown_changes(event))) for event in rows[:PAGE_ROWS]],
            "older": rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
            "query": query.urlencode(),
        },
    )


@requires("read_audit")
@require_safe
def audit_csv(request: HttpRequest) -> HttpResponse:
    """The filtered events as CSV; the export is an event itself."""
    form = EventFilter(request.GET)
    events = form.narrow(Event.objects.visible_to(request.user)).order_by("id")
    last = events.last()
    events = events.filter(id__lte=last.id) if last else events
    record("audit.export", actor=request.user, changes={"last": last.id if last else None})
    response = StreamingHttpResponse(_csv_lines(events), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="audit-{timezone.localdate()}.csv"'
    return response


@requires("read_audit")
@require_safe
def audit_head(request: HttpRequest) -> HttpResponse:
    """The chain's head of today as a file, to be signed and kept elsewhere."""
    head = head_of(timezone.localdate())
    if head is None:
        return HttpResponse("There is no event yet.", status=404, content_type="text/plain")
    response = JsonResponse(head)
    response["Content-Disposition"] = f'attachment; filename="audit-head-{head["day"]}.json"'
    return response


def shown_changes(event: Event) -> dict:
    """The event's changes without what only a case's readers may see."""
    if event.case_id is None and not event.object_type.startswith("cases."):
        return event.changes
    return {name: value if name in SHOWN else "not shown here" for name, value in event.changes.items()}


class _Echo:
    """A file that gives back what is written to it, so that rows stream."""

    def write(self, text: str) -> str:
        return text


def _csv_lines(events: QuerySet[Event]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield BYTE_ORDER_MARK
    yield writer.writerow(["id", "at", "person", "action", "object", "object id", "case id", "changes", "hash"])
    for event in events.iterator(chunk_size=2000):
        changes = json.dumps(shown_changes(event), ensure_ascii=False) if event.changes else ""
        cells = [event.id, event.at.isoformat(), event.actor_name, event.action, event.object_type, event.object_id]
        yield writer.writerow([safe(cell) for cell in [*cells, event.case_id, changes, event.hash]])
