"""The distribution's Python packages, which the installed program starts without.

It is started as `python3 -IS`: finding the packages takes the launcher time that it seldom needs,
and runs the code of every .pth file and of sitecustomize.
"""

import sys


def make_importable() -> None:
    """Do what the interpreter does at its start without -S. Does nothing the second time."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
