"""One target under atheris, which ends the process: ``python -m tests.fuzz.guided NAME ARGS``.

NAME is that of the target, and after colons those of the packages below it. ARGS are those of
libFuzzer. The first input that breaks the contract ends it with a traceback.
"""

import sys
from random import Random

import atheris

_OWN_SHARE = 0.6
"""How often a change is one of ours, and not one of libFuzzer's."""


def main() -> None:
    name, *below = sys.argv[1].split(":")
    with atheris.instrument_imports(include=["veriseal", "tests.fuzz.planted", *below]):
        from tests.fuzz import planted
        from tests.fuzz.targets import BY_NAME, Target

    target = BY_NAME.get(name) or Target(name, planted.run, "", lambda: [b"x"])
    mutators = target.all_mutators()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311
        if random.random() > _OWN_SHARE:
            return bytes(atheris.Mutate(data, most))
        return random.choice(mutators)(random, bytes(data), target.tokens)[:most]

    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run, custom_mutator=mutate)
    atheris.Fuzz()


main()
