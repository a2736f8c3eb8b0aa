"""A defect that is there on purpose: what does not find it finds nothing."""


def run(data: bytes) -> None:
    """Raises for ``set``, which nobody guesses at once, but a letter at a time."""
    if data[:1] == b"s":  # noqa: SIM102
        if data[1:2] == b"e":  # noqa: SIM102
            if data[2:3] == b"t":
                raise RuntimeError("the planted defect")
