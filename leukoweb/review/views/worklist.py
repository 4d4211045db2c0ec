"""The worklist: tabs over one table of cases, its live part, and who works on a case; it never signs one (S10)."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from detection.cell_types import BY_CODE
from leukoweb.accounts.access import requires
from leukoweb.accounts.models import User
from leukoweb.answers import json_answer
from leukoweb.audit.services import record_read
from leukoweb.cases.forms import SearchForm
from leukoweb.cases.identity import clean_name, clean_number
from leukoweb.cases.models import Case
from leukoweb.given import whole_number
from leukoweb.refusals import Refused
from leukoweb.review.assignments import assign_case
from leukoweb.review.criticals.models import Critical
from leukoweb.review.models import Assignment
from leukoweb.review.services import count_case
from leukoweb.review.urgency import faces_of
from leukoweb.review.views.worklist_rows import duration, rows_of
from leukoweb.review.worklist import FIRST, FURTHER, MOST, OPEN, TABS, Filters, lines_for, narrowed, signed_of_week

SEARCH = "worklist_search"
MOST_FACES = 12
CHIPS = {
    "stat": "STAT",
    "urgent": gettext_lazy("Urgent flag"),
    "flagged": gettext_lazy("Any flag"),
    "mine": gettext_lazy("Mine"),
}


@requires("read_cases")
@require_http_methods(["GET", "POST"])
def worklist(request: HttpRequest) -> HttpResponse:
    """The open cases in tabs; a search comes by POST and stays in the session, a whole number opens its case."""
    if request.method == "POST":
        form = SearchForm(request.POST)
        search = clean_name(form.cleaned_data["search"]) if form.is_valid() else ""
        request.session[SEARCH] = search
        cases = Case.objects.visible_to(request.user)
        exact = cases.filter(accession_number__iexact=clean_number(search)).first() if search else None
        return redirect("case_detail", exact.pk) if exact else redirect(request.get_full_path())
    return render(request, "review/worklist.html", _shown(request))


@requires("read_cases")
@require_GET
def worklist_live(request: HttpRequest) -> HttpResponse:
    """The part of the worklist that the page asks for again every few seconds."""
    return render(request, "review/_worklist_live.html", _shown(request))


@requires("read_cases")
@require_GET
def case_place(request: HttpRequest, pk: int) -> HttpResponse:
    """Which case of the list in `tab` and its filters this is, counted from 1, and where those beside it are reviewed.

    `number` is null where the case has left the list meanwhile.
    """
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    tab, filters = _asked(request)
    keys = [line.pk for line in narrowed(lines_for(request.user).of_tab(tab, request.user), filters, request.user)]
    at = keys.index(case.pk) if case.pk in keys else None
    beside = {"previous": None, "next": None}
    if at is not None:
        for name, other in (("previous", at - 1), ("next", at + 1)):
            if 0 <= other < len(keys):
                beside[name] = reverse("workbench", args=[keys[other]])
    return JsonResponse({"number": None if at is None else at + 1, "all": len(keys), **beside})


def _asked(request: HttpRequest) -> tuple[str, Filters]:
    """Return the tab that the address names, else that of the open cases, and what narrows it."""
    tab = request.GET.get("tab", OPEN)
    chips = {f"is_{name}": request.GET.get(name) == "1" for name in CHIPS}
    return tab if tab in TABS else OPEN, Filters(**chips, search=request.session.get(SEARCH, ""))


def _rows_asked(request: HttpRequest) -> int:
    """Return how many rows the address asks for: the reader has scrolled so far."""
    return min(max(whole_number(request.GET.get("rows")) or FIRST, FIRST), MOST)


def _shown(request: HttpRequest) -> dict[str, Any]:
    user = request.user
    tab, filters = _asked(request)
    chips = {name for name in CHIPS if getattr(filters, f"is_{name}")}
    search = filters.search
    lines = lines_for(user)
    fitting = narrowed(lines.of_tab(tab, user), filters, user)
    counts = lines.counts(user)
    week = signed_of_week(user)
    shown = _rows_asked(request)
    return {
        "rows": rows_of(fitting[:shown], lines, user),
        "further": max(0, len(fitting) - shown),
        "more_url": f"{_address(tab, chips)}&rows={shown + FURTHER}" if shown < MOST else "",
        "most": MOST,
        "tabs": [(key, title, counts[key], _address(key, chips), key == tab) for key, title in TABS.items()],
        "chips": [(title, _address(tab, chips ^ {name}), name in chips) for name, title in CHIPS.items()],
        "tab_title": TABS[tab],
        "is_filtered": bool(filters),
        "is_all_done": not lines.lines,
        "clear_url": _address(tab, set()),
        "here_url": _address(tab, chips),
        "search": search,
        "pressing": lines.pressing,
        "open_criticals": Critical.objects.visible_to(user).open().count(),
        "waiting": lines.waiting,
        "oldest_stat": lines.oldest_stat,
        "signed_today": len(lines.signed),
        "week": week,
        "week_line": " ".join(f"{14 * day},{18 - 16 * count / max(1, *week):.1f}" for day, count in enumerate(week)),
        "turnaround": None if lines.turnaround is None else duration(lines.turnaround),
    }


def _address(tab: str, chips: set[str]) -> str:
    """Return the query of a tab with its filters, in one order."""
    return "?" + urlencode({"tab": tab, **{name: 1 for name in CHIPS if name in chips}})


@requires("read_cases")
@require_GET
def case_preview(request: HttpRequest, pk: int) -> HttpResponse:
    """What the pane beside the list shows of the chosen case; each look is recorded."""
    case = get_object_or_404(Case.objects.visible_to(request.user).select_related("patient"), pk=pk)
    record_read(request, case, case)
    count = count_case(case)
    found = sorted((row for row in count.differential.rows if row.count), key=lambda row: -row.count)
    shown = {
        "case": case,
        "flags": count.flags,
        "rows": [(row, BY_CODE[row.key].color) for row in found],
        "total": count.differential.total,
        "faces": faces_of([case], most=MOST_FACES)[case.pk],
    }
    return render(request, "review/_worklist_preview.html", shown)


@requires("relabel_cell")
@require_POST
def case_assign(request: HttpRequest, pk: int) -> HttpResponse:
    """Give the case to a reader (`reader`: a key; empty: nobody), or turn it over: to this person, or back to nobody.

    The answer says who has it and who had it, so that the page can take the step back.
    """
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    asked = request.POST.get("reader")
    readers = User.objects.filter(laboratory=case.laboratory_id, is_active=True)
    if asked is None:
        has_it = Assignment.objects.filter(case=case, reader=request.user).exists()
        to = None if has_it else request.user
    else:
        to = get_object_or_404(readers, pk=whole_number(asked)) if asked else None
    try:
        had = assign_case(case, to=to, by=request.user)
    except Refused as refused:
        return json_answer(refused)
    who = "you" if to == request.user else to
    said = (
        gettext("%(case)s is assigned to %(who)s.") % {"case": case, "who": who}
        if to
        else gettext("%(case)s is assigned to nobody.") % {"case": case}
    )
    return JsonResponse({"reader": to and to.pk, "had": had and had.pk, "sentence": said})
