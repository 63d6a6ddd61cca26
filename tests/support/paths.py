"""Where the checkout and its parts lie."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGE = ROOT / "meddistill"
SCRIPTS = ROOT / "scripts"
