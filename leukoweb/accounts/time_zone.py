"""The time zone of the pages: that of the person's laboratory, else the installation's; programs get UTC."""

from collections.abc import Callable
from datetime import date
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from leukoweb.accounts.models import Laboratory

GetResponse = Callable[[HttpRequest], HttpResponse]
# Programs get UTC; the many small pictures of a page show no time, and cost no query for the laboratory.
WITHOUT_ZONE = ("/api/", "/fhir/", "/images/", "/cells/", "/film/", "/logos/")


def zone_of(laboratory: Laboratory | None) -> ZoneInfo:
    """Return the time zone in which a laboratory writes and reads times."""
    return ZoneInfo((laboratory and laboratory.time_zone) or settings.TIME_ZONE)


def today_of(laboratory: Laboratory | None) -> date:
    """Return the day by a laboratory's calendar."""
    return timezone.localdate(timezone=zone_of(laboratory))


def zone_names() -> list[str]:
    """Return the names of places (Europe/Berlin), and UTC."""
    return sorted(name for name in available_timezones() if name == "UTC" or ("/" in name and name[:3] != "Etc"))


def own_time_zone(get_response: GetResponse) -> GetResponse:
    """Show and read times in the zone of the signed-in person's laboratory."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path.startswith(WITHOUT_ZONE) or not request.user.is_authenticated:
            return get_response(request)
        with timezone.override(zone_of(request.user.laboratory)):
            return get_response(request)

    return middleware
