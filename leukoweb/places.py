"""Where LeukoWeb finds its own templates and static files, and where an installation keeps what it makes.

It needs only the standard library; what a deployment may change is decided by the settings.
"""

import errno
import os
from pathlib import Path

DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # the folder from which `leukoweb` and `detection` are imported
IS_CHECKOUT = (ROOT / "manage.py").is_file()
# In a checkout templates/ and static/ are folders of the repository; the wheel carries them inside the package.
ASSETS = ROOT if IS_CHECKOUT else PACKAGE


def home() -> Path:
    """Return the folder of `.env` and `data`: the checkout, else the user's own data folder (XDG base directories)."""
    if IS_CHECKOUT:
        return ROOT
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "leukoweb"
