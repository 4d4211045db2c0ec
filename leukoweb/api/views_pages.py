"""Pages about the interface: what it offers, and tokens; people make their own, administrators see and revoke all."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from leukoweb.accounts.access import requires
from leukoweb.api.description import description
from leukoweb.api.models import ApiToken
from leukoweb.api.services import give_token, revoke_token


class TokenForm(forms.Form):
    """What a new token is for, what it may do and how long it lives."""

    name = forms.CharField(
        max_length=60, label=gettext_lazy("What is it for?"), help_text=gettext_lazy("Such as “analyser room script”.")
    )
    scope = forms.ChoiceField(
        choices=ApiToken.Scope.choices, initial=ApiToken.Scope.READ, label=gettext_lazy("Permissions")
    )
    days = forms.TypedChoiceField(
        choices=[
            (1, gettext_lazy("1 day")),
            (7, gettext_lazy("7 days")),
            (30, gettext_lazy("30 days")),
            (90, gettext_lazy("90 days")),
        ],
        coerce=int,
        initial=30,
        label=gettext_lazy("Expires in"),
    )


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Describe every address of the interface; for everybody, as its schema is."""
    return render(request, "api/docs.html", description())


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    """One's own tokens, and a new one."""
    form = TokenForm(request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        _, secret = give_token(request.user, **form.cleaned_data)
        form = TokenForm()
    tokens = ApiToken.objects.filter(user=request.user).select_related("user")[:50]
    return render(request, "api/token_list.html", {"form": form, "tokens": tokens, "secret": secret})


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of one's own tokens."""
    token = get_object_or_404(ApiToken, pk=pk, user=request.user)
    revoke_token(token, by=request.user)
    messages.success(request, gettext("The token is revoked. Programs that used it are signed out."))
    return redirect("token_list")


@requires("manage_accounts")
@require_safe
def all_tokens(request: HttpRequest) -> HttpResponse:
    """Show administrators every token that is still taken, its owner first."""
    tokens = ApiToken.objects.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)
    alive = [token for token in tokens.select_related("user__laboratory").order_by("user__username") if token.is_alive]
    return render(request, "api/all_tokens.html", {"tokens": alive})


@requires("manage_accounts")
@require_POST
def any_token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End somebody's token."""
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk)
    revoke_token(token, by=request.user)
    messages.success(request, gettext("The token of %(username)s is revoked.") % {"username": token.user.username})
    return redirect("all_tokens")
