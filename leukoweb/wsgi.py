"""What a WSGI server serves."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")
if settings.TRACES_URL:
    from leukoweb import tracing

    tracing.start("web")
application = get_wsgi_application()
