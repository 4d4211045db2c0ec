"""Pages that list, register, edit and reject cases; a case's own page stands in review, its upload page in analysis."""

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.audit.services import record, record_read
from leukoweb.cases import lists
from leukoweb.cases.forms import CaseFilter, CaseForm, HoldForm, PatientForm, RejectForm, SearchForm
from leukoweb.cases.identity import clean_name, clean_number
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.retention import lift_hold, set_hold
from leukoweb.cases.services import edit_case, mark_of, register_case, reject_case
from leukoweb.given import is_storable, whole_number
from leukoweb.refusals import Refused

SEARCH = "case_search"


@requires("read_cases")
@require_http_methods(["GET", "POST"])
def case_list(request: HttpRequest) -> HttpResponse:
    """The laboratory's cases; a search comes by POST and stays in the session; a whole number opens its case."""
    cases = Case.objects.visible_to(request.user)
    if request.method == "POST":
        form = SearchForm(request.POST)
        search = clean_name(form.cleaned_data["search"]) if form.is_valid() else ""
        request.session[SEARCH] = search
        exact = cases.filter(accession_number__iexact=clean_number(search)).first() if search else None
        return redirect("case_detail", exact.pk) if exact else redirect(request.get_full_path())
    filters = CaseFilter(request.GET)
    chosen = filters.cleaned_data if filters.is_valid() else {}
    sort = chosen.pop("sort", "") or "-received"
    search = request.session.get(SEARCH, "")
    page = lists.page_of(
        lists.found(cases, search=search, **chosen),
        sort=sort,
        after=whole_number(request.GET.get("after")),
        before=whole_number(request.GET.get("before")),
    )
    kept = request.GET.copy()
    for name in ("after", "before"):
        kept.pop(name, None)
    context = {
        "page": page,
        "filters": filters,
        "search": search,
        "search_form": SearchForm(initial={"search": search}),
        "is_filtered": bool(search or any(chosen.values())),
        "query": kept.urlencode(),
    }
    return render(request, "cases/case_list.html", context)


@requires("register_case")
@require_http_methods(["GET", "POST"])
def case_register(request: HttpRequest) -> HttpResponse:
    """Register a specimen of a patient who is found by MRN, or made."""
    patient, case = PatientForm(request.POST or None), CaseForm(request.POST or None)
    if request.method == "POST" and _are_valid(patient, case):
        fields = dict(patient.cleaned_data)
        try:
            new = register_case(by=request.user, mrn=fields.pop("mrn"), patient=fields, case=case.cleaned_data)
        except Refused as refused:
            _show(refused, patient, case)
        else:
            messages.success(request, gettext("Case %(new)s is registered. Upload its slides now.") % {"new": new})
            return redirect("slide_upload" if request.user.can("upload_slide") else "case_detail", new.pk)
    return render(request, "cases/case_form.html", {"patient": patient, "form": case})


@requires("register_case")
@require_POST
def patient_lookup(request: HttpRequest) -> HttpResponse:
    """The patient's fields of the form, filled where the MRN is known."""
    mrn = clean_number(request.POST.get("mrn", ""))
    is_number = mrn and is_storable(mrn)
    known = Patient.objects.filter(laboratory=request.user.laboratory, mrn=mrn).first() if is_number else None
    if known:
        record("patient.read", actor=request.user, obj=known)
    form = PatientForm(instance=known) if known else PatientForm(initial=request.POST.dict())
    return render(request, "cases/_patient_fields.html", {"patient": form, "known": known})


@requires("register_case")
@require_http_methods(["GET", "POST"])
def case_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Correct what was registered, until the report is signed."""
    case = _visible_case(request, pk)
    seen = request.POST.get("seen", mark_of(case))
    patient_form = PatientForm(request.POST or None, instance=Patient.objects.get(pk=case.patient_id))
    form = CaseForm(request.POST or None, instance=Case.objects.get(pk=case.pk))
    if request.method == "POST" and _are_valid(patient_form, form):
        fields = dict(patient_form.cleaned_data)
        mrn = fields.pop("mrn")
        if clean_number(mrn) == case.patient.mrn and not fields["name"]:
            fields.pop("name")
        try:
            edit_case(case, by=request.user, mrn=mrn, patient=fields, fields=form.cleaned_data, seen=seen)
        except Refused as refused:
            _show(refused, patient_form, form)
        else:
            messages.success(request, gettext("Changes saved. Old and new values are in the history of the case."))
            return redirect("case_detail", case.pk)
    elif request.method == "GET":
        record_read(request, case, case)
    shown = {"patient": patient_form, "form": form, "case": case, "seen": seen}
    return render(request, "cases/case_form.html", shown)


@requires("register_case")
@require_http_methods(["GET", "POST"])
def case_reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Refuse a specimen, with the reason."""
    case = _visible_case(request, pk)
    form = RejectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            reject_case(case, by=request.user, **form.cleaned_data)
        except Refused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("Specimen rejected. The case has a rejection report."))
            return redirect("case_detail", case.pk)
    return render(request, "cases/case_reject.html", {"case": case, "form": form})


@requires("register_case")
@require_http_methods(["GET", "POST"])
def case_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Set a legal hold, or lift it, with the reason."""
    case = _visible_case(request, pk)
    form = HoldForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        change = lift_hold if case.held_at else set_hold
        change(case, by=request.user, reason=form.cleaned_data["reason"])
        messages.success(
            request, gettext("The legal hold is lifted.") if case.held_at else gettext("The case is under legal hold.")
        )
        return redirect("case_detail", case.pk)
    return render(request, "cases/case_hold.html", {"case": case, "form": form})


def _visible_case(request: HttpRequest, pk: int) -> Case:
    return get_object_or_404(Case.objects.visible_to(request.user).select_related("patient"), pk=pk)


def _are_valid(*forms: BaseForm) -> bool:
    # A list, so that every form is checked and all sentences are shown at once.
    return all([form.is_valid() for form in forms])


def _show(refused: Refused, patient: BaseForm, case: BaseForm) -> None:
    """Write a refusal where its field stands."""
    form = patient if refused.field in patient.fields else case
    form.add_error(refused.field if refused.field in form.fields else None, str(refused))
