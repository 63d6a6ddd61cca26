"""Import a file of scripts/ as a module."""

import importlib.util
import sys

from support.paths import SCRIPTS


def load_script(name):
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    beside = str(SCRIPTS / name).rpartition("/")[0]
    sys.path.insert(0, beside)  # what Python does with a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(beside)
    return module
