"""The language of the pages: the person's own choice, else the browser's, else the installation's."""

from collections.abc import Callable

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _
from django.views.i18n import JavaScriptCatalog

GetResponse = Callable[[HttpRequest], HttpResponse]
LANGUAGE = "language"  # in a person's preferences


def own_language(get_response: GetResponse) -> GetResponse:
    """Answer in the language that the signed-in person chose; LocaleMiddleware set the browser's before."""

    def middleware(request: HttpRequest) -> HttpResponse:
        chosen = request.user.preferences.get(LANGUAGE) if request.user.is_authenticated else None
        if chosen in dict(settings.LANGUAGES):
            translation.activate(chosen)
            request.LANGUAGE_CODE = chosen
        return get_response(request)

    return middleware


class LanguageForm(forms.Form):
    """One of the languages that this installation has."""

    language = forms.ChoiceField(
        label=_("Language of the pages"),
        choices=[("", _("As my browser asks for")), *settings.LANGUAGES],
        required=False,
    )


@login_required
def language(request: HttpRequest) -> HttpResponse:
    """Choose the language of one's own pages; it applies on every computer."""
    form = LanguageForm(request.POST or None, initial={"language": request.user.preferences.get(LANGUAGE, "")})
    if request.method == "POST" and form.is_valid():
        request.user.preferences = {**request.user.preferences, LANGUAGE: form.cleaned_data["language"]}
        request.user.save(update_fields=["preferences"])
        translation.activate(form.cleaned_data["language"] or translation.get_language_from_request(request))
        messages.success(request, _("Language saved."))
        return redirect("language")
    return render(request, "accounts/language.html", {"form": form})


class Sentences(JavaScriptCatalog):
    """The translated sentences of the scripts in the language of the page."""

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Answer with the catalogue of the active language; its address names language and version."""
        response = super().get(request, *args, **kwargs)
        patch_cache_control(response, private=True, max_age=3600)
        return response
