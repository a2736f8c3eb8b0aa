"""veriseal trust STEP: what is trusted, what would be, and the statement that says so.

Each step is a module of its own, and only that of the step that runs is imported.
"""

import argparse
import importlib

STEPS = {
    "show": "what counts for a system and why, and what is ignored and why",
    "lint": "what is wrong with its certificates and settings",
    "plan": "what a change would do, and the order of steps that is safe",
    "statement": "make and sign a trust statement",
}
"""Step: one line of help. Each is the module `veriseal.cli.trust_STEP`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments; those of a step are described when it runs."""
    parser.add_argument("step", metavar="STEP", choices=STEPS, help=" | ".join(STEPS))
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="of the step")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, STEPS))
    parser.epilog = "steps:\n" + "\n".join(
        f"  {step:{width}}  {help_line}" for step, help_line in STEPS.items()
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the step. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"veriseal trust {options.step}", description=STEPS[options.step]
    )
    module = importlib.import_module(f"veriseal.cli.trust_{options.step}")
    module.configure(parser)
    chosen = parser.parse_args(options.rest)
    status = chosen.run(chosen)
    return 0 if status is None else int(status)
