"""Entry point: the launcher gets its own short way in, everything else goes to `cli`."""

import sys


def main() -> int:
    """Run the command line. Returns the exit status, or does not return (`veriseal exec`)."""
    if len(sys.argv) > 1 and sys.argv[1] == "exec":
        from veriseal.launch.main import main as launch

        return launch(sys.argv[2:])
    from veriseal import sitepackages

    sitepackages.make_importable()
    from veriseal.cli.main import main as verbs

    return verbs(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
