"""Account pages of administrators: people and laboratories.

An administrator manages every laboratory of the installation, and reads no case of any.
"""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from leukoweb.accounts import lockout, resets, services
from leukoweb.accounts.access import requires
from leukoweb.accounts.forms import AccountForm, ImportForm, LaboratoryForm, UserFilter, read_accounts
from leukoweb.accounts.logos import add_logo, logo_of, png_of
from leukoweb.accounts.models import EmergencyAccess, Laboratory, Reset, User
from leukoweb.accounts.second_factor import has_second_factor
from leukoweb.answers import back_with, refusal_shown
from leukoweb.audit.models import Event
from leukoweb.refusals import Refused

ASKED = gettext_lazy(
    "Asked. The account signs or administers, so another administrator must confirm it within a day, on this page. "
    "Where there is no other one: `leukoweb reset_account NAME` on the server."
)
SIGN_IN_EVENTS = ("sign_in", "sign_in.refused", "sign_in.locked", "sign_out", "password.reset", "password.change")


@requires("manage_accounts")
@require_safe
def user_list(request: HttpRequest) -> HttpResponse:
    """List accounts with search and filters."""
    form = UserFilter(request.GET or None)
    locks = lockout.locks()
    users = form.narrow(User.objects.select_related("laboratory"), locks)
    page = Paginator(users, 50).get_page(request.GET.get("page"))
    query = request.GET.copy()
    query.pop("page", None)
    rows = [(person, locks.get(lockout.name_of(person.username))) for person in page]
    return render(
        request, "accounts/user_list.html", {"form": form, "page": page, "rows": rows, "query": query.urlencode()}
    )


@requires("manage_accounts")
def user_invite(request: HttpRequest) -> HttpResponse:
    """Make an account and show the one-time address for its owner."""
    form = AccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = form.save(commit=False)
        try:
            services.invite(user, by=request.user)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            return _shown_once(request, user, invitation=services.invitation_path(user))
    return render(request, "accounts/user_invite.html", {"form": form})


@requires("manage_accounts")
def user_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One account: its values, state and sign-in history."""
    person = get_object_or_404(User.objects.select_related("laboratory"), pk=pk)
    form = AccountForm(request.POST or None, instance=User.objects.get(pk=pk))
    if request.method == "POST" and form.is_valid():
        with refusal_shown(request):
            services.change_account(person, form.cleaned_data, by=request.user)
            messages.success(request, gettext("Saved."))
        return redirect("user_detail", pk)
    history = Event.objects.filter(object_type="accounts.user", object_id=str(pk)).order_by("-id")
    return render(
        request,
        "accounts/user_detail.html",
        {
            "person": person,
            "form": form,
            "locked_until": lockout.locks([person.username]).get(lockout.name_of(person.username)),
            "has_second_factor": has_second_factor(person),
            "waiting": resets.waiting_for(person),
            "sign_ins": history.filter(action__in=SIGN_IN_EVENTS)[:30],
            "changes": history.exclude(action__in=SIGN_IN_EVENTS).select_related("actor")[:30],
        },
    )


@requires("manage_accounts")
@require_POST
def user_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a new one-time address for somebody who never came in."""
    person = get_object_or_404(User, pk=pk, is_active=True)
    if person.has_usable_password() or person.last_login:
        messages.error(request, gettext("This account has already been used. Reset its password instead."))
        return redirect("user_detail", pk)
    return _shown_once(request, person, invitation=services.invitation_path(person))


@requires("manage_accounts")
@require_POST
def user_active(request: HttpRequest, pk: int) -> HttpResponse:
    """Deactivate an account, or let it in again."""
    person = get_object_or_404(User, pk=pk)
    is_active = request.POST.get("active") == "yes"
    with refusal_shown(request):
        services.set_active(person, is_active, by=request.user)
        messages.success(
            request, gettext("The account is active again.") if is_active else gettext("The account is deactivated.")
        )
    return redirect("user_detail", pk)


@requires("manage_accounts")
@require_POST
@never_cache
def user_reset_password(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a temporary password once; its owner must change it at the next sign-in (S3)."""
    person = get_object_or_404(User, pk=pk)
    try:
        password = resets.reset(person, str(Reset.Kind.PASSWORD), by=request.user)
    except Refused as refused:
        return back_with(request, refused, "user_detail", pk)
    if password:
        return _shown_once(request, person, password=password)
    messages.info(request, ASKED)
    return redirect("user_detail", pk)


@requires("manage_accounts")
@require_POST
def user_reset_factor(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the second factor of somebody who lost theirs."""
    try:
        done = resets.reset(get_object_or_404(User, pk=pk), str(Reset.Kind.SECOND_FACTOR), by=request.user)
    except Refused as refused:
        return back_with(request, refused, "user_detail", pk)
    if done is None:
        messages.info(request, ASKED)
    else:
        messages.success(request, gettext("Second factor removed. The user can set up a new one."))
    return redirect("user_detail", pk)


@requires("manage_accounts")
@require_POST
def user_unlock(request: HttpRequest, pk: int) -> HttpResponse:
    """Lift the lock of failed sign-ins."""
    person = get_object_or_404(User, pk=pk)
    with refusal_shown(request):
        services.unlock(person, by=request.user)
        messages.success(request, gettext("The account is unlocked."))
    return redirect("user_detail", pk)


@requires("manage_accounts")
@require_POST
def user_end_sessions(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign an account out everywhere."""
    person = get_object_or_404(User, pk=pk)
    with refusal_shown(request):
        services.end_sessions(person, by=request.user)
        messages.success(request, gettext("Signed out everywhere."))
    return redirect("user_detail", pk)


@requires("manage_accounts")
@never_cache
def user_import(request: HttpRequest) -> HttpResponse:
    """Read a CSV of accounts: first a dry run with a report of every line, then the import of the same text."""
    form, text, problem = ImportForm(), "", ""
    lines: list[tuple[int, str, AccountForm | None, list[str]]] | None = None
    if request.method == "POST":
        if "text" in request.POST:
            text = request.POST["text"]
        else:
            form = ImportForm(request.POST, request.FILES)
            text = form.cleaned_data["file"] if form.is_valid() else ""
        if text or form.is_valid():
            try:
                lines = read_accounts(text)
            except ValueError as refused:
                problem = str(refused)
    forms = [line_form for _, _, line_form, complaints in lines or [] if line_form and not complaints]
    is_clean = bool(lines) and len(forms) == len(lines or [])
    made: list[User] = []
    if is_clean and request.POST.get("import") == "yes":
        made = [line_form.save(commit=False) for line_form in forms]
        try:
            services.invite(*made, by=request.user)
        except Refused as refused:
            made, problem = [], f"Nothing was imported: {refused}"
    return render(
        request,
        "accounts/user_import.html",
        {
            "form": form,
            "lines": lines,
            "text": text,
            "problem": problem,
            "is_clean": is_clean,
            "made": [(user, request.build_absolute_uri(services.invitation_path(user))) for user in made],
        },
    )


@requires("manage_accounts")
@require_safe
def laboratory_list(request: HttpRequest) -> HttpResponse:
    """List the laboratories."""
    return render(request, "accounts/laboratory_list.html", {"laboratories": Laboratory.objects.all()})


@requires("manage_accounts")
def laboratory_edit(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Make or change a laboratory; it is never deleted."""
    laboratory = get_object_or_404(Laboratory, pk=pk) if pk else Laboratory()
    form = LaboratoryForm(
        request.POST or None, request.FILES or None, instance=laboratory, initial={} if pk else {"is_active": True}
    )
    if request.method == "POST" and form.is_valid():
        logo, changed = form.cleaned_data["logo"], [name for name in form.changed_data if name in form.Meta.fields]
        try:
            with transaction.atomic():
                services.save_laboratory(form.save(commit=False), by=request.user, changed=changed)
                if logo:
                    add_logo(laboratory, logo, text=form.cleaned_data["logo_text"], by=request.user)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            messages.success(request, gettext("Saved."))
            return redirect("laboratory_list")
    shown = {"form": form, "laboratory": laboratory, "logo": logo_of(laboratory) if pk else {}}
    return render(request, "accounts/laboratory_edit.html", shown)


@login_required
@require_safe
def laboratory_logo(request: HttpRequest, sha256: str) -> HttpResponse:
    """A logo by its hash: it never changes, so browsers keep it."""
    png = png_of(sha256)
    if png is None:
        raise Http404
    return HttpResponse(png, content_type="image/png", headers={"Cache-Control": "private, max-age=31536000"})


@requires("manage_accounts")
@require_safe
def emergency_list(request: HttpRequest) -> HttpResponse:
    """The emergency accesses, those that wait for follow-up first."""
    accesses = EmergencyAccess.objects.select_related("opened_by", "laboratory", "followed_up_by")
    waiting = accesses.filter(followed_up_at=None)
    return render(
        request,
        "accounts/emergency_list.html",
        {"waiting": waiting, "closed": accesses.exclude(followed_up_at=None)[:200]},
    )


@requires("manage_accounts")
@require_POST
def emergency_follow_up(request: HttpRequest, pk: int) -> HttpResponse:
    """Close an emergency access with what was found."""
    access = get_object_or_404(EmergencyAccess, pk=pk)
    finding = request.POST.get("finding", "").strip()
    if finding:
        services.follow_up(access, finding=finding[:4000], by=request.user)
        messages.success(request, gettext("Followed up."))
    else:
        messages.error(request, gettext("Enter a finding: was the access justified?"))
    return redirect("emergency_list")


def _shown_once(request: HttpRequest, person: User, *, invitation: str = "", password: str = "") -> HttpResponse:
    """The page with a secret that no other page shows."""
    address = request.build_absolute_uri(invitation) if invitation else ""
    response = render(
        request, "accounts/user_secret.html", {"person": person, "invitation": address, "password": password}
    )
    response["Cache-Control"] = "no-store"
    return response
