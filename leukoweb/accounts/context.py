"""What every page says about the product itself."""

from django.conf import settings
from django.http import HttpRequest

from leukoweb.accounts.models import EmergencyAccess
from leukoweb.accounts.roles import PERMISSIONS


def product(request: HttpRequest) -> dict:
    """Give templates the product's version, source address and research-use notice (S11)."""
    user = getattr(request, "user", None)
    can = {action: user.can(action) for action in PERMISSIONS} if user and user.is_authenticated else {}
    return {
        "product_version": settings.VERSION,
        "source_url": settings.SOURCE_URL,
        "is_research_use": settings.IS_RESEARCH_USE,
        "can": can,
        "open_emergencies": EmergencyAccess.objects.filter(followed_up_at=None).count()
        if can.get("manage_accounts")
        else 0,
        "idle_limit_s": settings.IDLE_LIMIT_S,
    }
