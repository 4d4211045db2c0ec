"""One's own account: where work waits, sessions, invitation, the signers' statement."""

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import PasswordResetConfirmView
from django.forms import Form
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts import services
from leukoweb.accounts.access import requires
from leukoweb.accounts.middleware import note_activity, seconds_left
from leukoweb.answers import answer_of
from leukoweb.audit.services import record
from leukoweb.refusals import Refused


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Take each role to where its work waits."""
    return redirect("worklist" if request.user.can("read_cases") else "user_list")


@login_required
def no_password(request: HttpRequest) -> HttpResponse:
    """Whoever signs in through the hospital alone has no password here; an administrator gives one."""
    messages.info(
        request, gettext("Your account has no password here. Ask an administrator to reset it if you need one.")
    )
    return redirect("home")


@login_required
@require_POST
def session_end(request: HttpRequest, pk: int) -> HttpResponse:
    """Sign out one of one's own sessions."""
    session = get_object_or_404(UserSession, pk=pk, user=request.user)
    session.end()
    record("session.end", actor=request.user, obj=request.user)
    messages.success(request, gettext("That session is signed out."))
    return redirect("usersessions_list")


class Invitation(PasswordResetConfirmView):
    """Where an invited person chooses the first password; the address works once."""

    template_name = "accounts/invitation.html"
    success_url = reverse_lazy("sign_in")

    def form_valid(self, form: Form) -> HttpResponse:
        services.choose_password(self.user, form.cleaned_data["new_password1"])
        messages.success(self.request, gettext("Your password is set. You can sign in now."))
        self.request.session.pop("_password_reset_token", None)
        return redirect(self.success_url)


@requires("sign_report")
def statement(request: HttpRequest) -> HttpResponse:
    """What a signer accepts once, before the first signature."""
    if request.method == "POST" and request.POST.get("accept") == "yes":
        if request.user.statement_accepted_at is None:
            services.accept_statement(request.user)
        address = request.POST.get("next", "")
        safe = url_has_allowed_host_and_scheme(address, {request.get_host()}, request.is_secure())
        return redirect(address if safe else "home")
    return render(request, "accounts/statement.html", {"next": request.GET.get("next", "")})


@require_GET
@never_cache
def session_state(request: HttpRequest) -> HttpResponse:
    """Say how long this session has, 0 when it has ended; asking is no activity (see idle.js)."""
    return JsonResponse({"seconds_left": seconds_left(request) if request.user.is_authenticated else 0})


@require_POST
def session_stay(request: HttpRequest) -> HttpResponse:
    """The person pressed *stay*."""
    if not request.user.is_authenticated:
        return answer_of(request, Refused(gettext("You are signed out."), code="not_signed_in"))
    note_activity(request)
    return JsonResponse({"seconds_left": seconds_left(request)})
