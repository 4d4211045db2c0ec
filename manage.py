#!/usr/bin/env python
"""The command `leukoweb` of a checkout that was not installed; every command is that of the package."""

from leukoweb.__main__ import main

if __name__ == "__main__":
    main()
