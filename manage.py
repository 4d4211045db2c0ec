#!/usr/bin/env python
"""Django's command line for LeukoWeb; it knows nothing but the settings' name."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leukoweb.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
