"""How style sheets, scripts and pictures of the product are named where they are served.

The modules that a script imports get names with their hash too: browsers keep them until they change.
"""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from whitenoise.storage import CompressedManifestStaticFilesStorage

IMPORTS = ("*.js", ((r'(?P<matched>from "(?P<url>\./[a-z_]+\.js)";)', 'from "%(url)s";'),))


class StaticFiles(ManifestStaticFilesStorage):
    """Files as they are, for one machine."""

    patterns = (*ManifestStaticFilesStorage.patterns, IMPORTS)


class CompressedStaticFiles(CompressedManifestStaticFilesStorage):
    """Files that are compressed once, for many readers."""

    patterns = (*CompressedManifestStaticFilesStorage.patterns, IMPORTS)
