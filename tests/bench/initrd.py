"""What the dracut module adds to an initrd."""

from __future__ import annotations

from tests.boot import appliance

from .figure import Goal, Row

GOAL = Goal(10.0)
_MB = 1e6


def growth() -> list[Row]:
    """The appliance's initrd against one that differs in nothing but the module."""
    built = appliance.build()
    ours, peer = (path.stat().st_size / _MB for path in (built.initrd, built.without_module))
    grown = ours - peer
    return [
        Row(
            "initrd growth, zstd",
            f"{ours:.1f} MB",
            f"{peer:.1f} MB  without the module",
            grown,
            grown,
            grown,
            GOAL,
            unit="MB",
            notes=[f"{ours / peer:.2f} × the size without it"],
            data={"ours_bytes": ours * _MB, "peer_bytes": peer * _MB},
        )
    ]
