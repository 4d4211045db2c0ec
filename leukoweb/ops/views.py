"""Health for people and for watching programs, and figures for Prometheus; nothing here names a patient or a case."""

import os
import secrets
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from leukoweb.ops import figures
from leukoweb.ops.doctor import installation_checks
from leukoweb.ops.health import Check, database_check, look, look_seldom


@require_safe
@never_cache
def health(request: HttpRequest) -> HttpResponse:
    """Say whether everything is there: 200, or 503 when somebody must act; words only for who may see the system."""
    may_read = request.user.is_authenticated and request.user.can("see_system")
    checks = look() if may_read else look_seldom()
    states = {check.state for check in checks}
    worst = next(state for state in ("failed", "warning", "ok") if state in states)
    status = 503 if worst == "failed" else 200
    if may_read and "text/html" in request.headers.get("Accept", ""):
        return render(request, "ops/health.html", _page(checks), status=status)
    seen = {check.name: {"state": check.state} | ({"words": check.words} if may_read else {}) for check in checks}
    return JsonResponse({"state": worst, "checks": seen}, status=status)


def _page(checks: list[Check]) -> dict[str, Any]:
    """Give the page what is running, how it is installed, and the figures; the latter two only with a database."""
    groups, shown = [(_("Services"), checks), (_("Installation"), installation_checks(asks_others=False))], []
    if all(check.state != "failed" for check in checks if check.name == "database"):
        shown = figures.in_words()
    return {"groups": groups, "figures": shown, "version": settings.VERSION}


@require_safe
@never_cache
def health_web(request: HttpRequest) -> HttpResponse:
    """Say whether this web process can serve pages: what a load balancer asks every few seconds."""
    check = database_check()
    return JsonResponse({"state": check.state}, status=200 if check.state == "ok" else 503)


@require_safe
@never_cache
def health_live(request: HttpRequest) -> HttpResponse:
    """Say that this process answers; nothing else is asked."""
    return JsonResponse({"state": "ok"})


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Give Prometheus its figures: for the token of the settings, or for who may see the system."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    has_token = settings.METRICS_TOKEN and secrets.compare_digest(given.encode(), settings.METRICS_TOKEN.encode())
    if not has_token and not (request.user.is_authenticated and request.user.can("see_system")):
        raise PermissionDenied
    web = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        web = CollectorRegistry()
        multiprocess.MultiProcessCollector(web)
    return HttpResponse(generate_latest(web) + generate_latest(figures.registry()), content_type=CONTENT_TYPE_LATEST)
