"""Where the program starts: `meddistill`, `python -m meddistill`, also under torchrun."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    # Nothing that is made while commands are built becomes garbage; looking for it is a tenth of
    # what `--help` takes. `cli` turns it on again before a command runs.
    gc.disable()
    from meddistill.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
