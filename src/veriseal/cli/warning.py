"""What a verb says on stderr that neither stops it nor changes its exit status."""

import sys

from veriseal.errors import printable


def warn(text: str) -> None:
    """Print ``text`` as a warning."""
    print(f"veriseal: warning: {printable(text)}", file=sys.stderr)
