"""What pages say only while an installation is a demonstration: they ask for it, so that other pages cost nothing."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from leukoweb.ops.demo import running_demonstration


def demonstration(request: HttpRequest) -> dict:
    """Give templates the password of the demo accounts; empty where the installation is no demonstration."""
    return {"demo_password": SimpleLazyObject(lambda: running_demonstration() or "")}
