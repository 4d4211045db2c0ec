"""What helps a first visit: the help page, and the way into a demonstration; neither shows anything of a patient."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from leukoweb.accounts.sign_in import SignInForm
from leukoweb.ops.demo import ROLES, running_demonstration


@require_safe
@login_required
def help_page(request: HttpRequest) -> HttpResponse:
    """Say in one page how a case goes from upload to report, and what the marks mean."""
    return render(request, "ops/help.html")


@require_POST
@never_cache
def demonstration_enter(request: HttpRequest, role: str) -> HttpResponse:
    """Sign a visitor in as one of the demo accounts, with its password, by the same form as everybody.

    It exists only while the installation is a demonstration; lock-out, second factor and audit are those of a sign-in.
    """
    password = running_demonstration()
    if password is None or role not in ROLES:
        raise Http404
    form = SignInForm({"username": role, "password": password}, request=request)
    if not form.is_valid():
        why = " ".join(form.non_field_errors())
        messages.error(
            request,
            gettext("This demo account was not signed in: %(why)s Its password may have been changed.") % {"why": why},
        )
        return redirect("sign_in")
    return form.login(request, redirect_url=reverse("home"))
