"""One program for all commands that people use: `deformer NAME` is `python -m deformer.NAME`.

Importing it imports no library, so that its help comes at once.
"""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

COMMANDS = {
    "predict": "hands of videos: numbers, an overlay and a page each",
    "draw": "the overlay again, without the network",
    "export": "predicted hands as files of other programs",
    "export-onnx": "the network as two ONNX files",
    "doctor": "what is installed, and what to do about what is not",
}
"""Names and what they make; `export-onnx` is the module `deformer.export_onnx`."""

_HELP = f"""usage: deformer COMMAND [OPTIONS]

3D hands from video.

    deformer predict clip.mp4

commands:
{"".join(f"  {name:13}{text}{chr(10)}" for name, text in COMMANDS.items())}
`deformer COMMAND --help` lists the options of a command.
Training and measuring are programs of their own: `python -m deformer.train --help`."""


def main() -> int:
    """Run the command that the first argument names, and return its exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "nothing"
    if name in ("--help", "-h", "help"):
        print(_HELP)
        return 0
    if name == "--version":
        print(_version())
        return 0
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"error: {name} is no command of deformer: give one of {known}", file=sys.stderr)
        return 2
    sys.argv = [f"deformer {name}", *sys.argv[2:]]
    return import_module(f"deformer.{name.replace('-', '_')}").main()


def _version() -> str:
    try:
        return f"deformer-hands {version('deformer-hands')}"
    except PackageNotFoundError:
        return "deformer-hands, not installed: run from its folder"


if __name__ == "__main__":
    sys.exit(main())
