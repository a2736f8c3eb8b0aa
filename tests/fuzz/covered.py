"""How much of what it tries a target reaches: ``python -m tests.fuzz.covered TARGET DIRECTORY``.

Prints the lines and branches of each module that were reached by the inputs in the directory.
"""

import io
import os
import sys

import coverage


def main() -> None:
    name, directory = sys.argv[1:]
    measured = coverage.Coverage(branch=True, data_file=None, source_pkgs=["veriseal"])
    measured.start()
    from tests.fuzz.targets import BY_NAME

    target = BY_NAME[name]
    inputs = target.seeds()
    for file in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        with open(os.path.join(directory, file), "rb") as opened:
            inputs.append(opened.read())
    for data in inputs:
        target.run(data)
    measured.stop()
    print(f"{name}: {len(inputs)} inputs")
    for module in sorted({function.rpartition(".")[0] for function in target.covers.split()}):
        module = module.removesuffix(".Digest").removesuffix(".Sealed")
        file = f"*/veriseal/{module.replace('.', '/')}.py"
        out = io.StringIO()
        share = measured.report(include=[file], file=out, show_missing=True)
        missing = out.getvalue().splitlines()[2].partition("%")[2].strip()
        print(f"  {module}: {share:.0f} %" + (f", without {missing}" if missing else ""))


main()
