"""What depends on what: imports point one way, a foreign library lives in one module, training
cannot see a mask."""

import ast
import sys
from functools import cache

import pytest
from support.paths import PACKAGE

# A module imports from its own row or one further down; a stage not even from its own.
LAYERS = [
    ["cli"],
    ["pipeline"],
    ["stages"],
    ["colearning"],
    ["evaluation"],
    ["targets"],
    ["training"],
    ["student", "teachers", "detector"],
    ["data"],
    ["run"],
    ["settings"],
    ["base"],
]
# Arrays, file formats and the engine's handle are common language; what has an API that moves under
# us is not.
EVERYWHERE = {
    "numpy",
    "torch",
    "scipy",
    "skimage",
    "rich",
    "typer",
    "omegaconf",
    "safetensors",
    "lightning_fabric",
    "markupsafe",
}


def _name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# The package's own __init__ and __main__ are doors, not rooms.
ROOMS = [name for name in MODULES if name not in ("meddistill", "meddistill.__main__")]


@cache
def _tree(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _type_only(module):
    """Imports under `if TYPE_CHECKING:` do not happen."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from ast.walk(node)


@cache
def imports(module):
    """Everything that `module` imports, at its top or inside a function, as full module names."""
    found = set()
    skipped = set(_type_only(module))
    for node in ast.walk(_tree(module)):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & MODULES.keys()
            found |= submodules
            if len(submodules) < len(names):
                found.add(node.module)
    return found


def reached_from(module):
    """`module` and every module of ours that it needs, directly or not."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [
                other for other in imports(name) if other in MODULES and other != "meddistill"
            ]
    return seen


def _layer(module):
    room = module.split(".")[1]
    for depth, rooms in enumerate(LAYERS):
        if room in rooms:
            return depth
    raise AssertionError(
        f"{module} is in no layer: add it to LAYERS, and to the layout in the README"
    )


@pytest.mark.parametrize("module", ROOMS)
def test_imports_point_one_way(module):
    ours = [name for name in imports(module) if name in MODULES and name != "meddistill"]
    upward = [name for name in ours if _layer(name) < _layer(module)]
    assert upward == [], f"{module} imports from above"


@pytest.mark.parametrize(
    "module", [name for name in ROOMS if name.startswith("meddistill.stages.")]
)
def test_stages_meet_on_disk_only(module):
    assert [name for name in imports(module) if name.startswith("meddistill.stages.")] == []


def test_a_foreign_library_lives_in_one_module():
    homes = {}
    for module in ROOMS:
        for name in imports(module):
            library = name.split(".")[0]
            if library != "meddistill" and library not in EVERYWHERE and not _is_standard(library):
                homes.setdefault(library, set()).add(module)
    assert {library: sorted(where) for library, where in homes.items() if len(where) > 1} == {}


def test_the_command_line_imports_nothing_heavy_at_its_top():
    tops = {"meddistill.cli.app"}
    waiting = ["meddistill.cli.app"]
    foreign = set()
    while waiting:
        for name in _top_imports(waiting.pop()):
            if name in MODULES and name not in tops:
                tops.add(name)
                waiting.append(name)
            elif not name.startswith("meddistill") and not _is_standard(name.split(".")[0]):
                foreign.add(name.split(".")[0])
    assert foreign <= {"typer", "rich", "numpy"}


def test_distill_has_no_way_to_a_mask():
    reached = reached_from("meddistill.stages.distill")
    assert "meddistill.targets.making" in reached  # the walk does go somewhere
    assert not {
        name
        for name in reached
        if name.startswith(("meddistill.data.masks", "meddistill.data.sources"))
    }
    assert "meddistill.stages.prepare" not in reached
    for module in reached - {"meddistill.run.true_masks"}:
        for node in ast.walk(_tree(module)):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
            assert name not in ("mask_path", "read_mask"), f"{module} names {name}"
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                names = [
                    part.value for part in ast.walk(node.right) if isinstance(part, ast.Constant)
                ]
                assert not any("masks" in str(name) for name in names), (
                    f"{module} goes into the folder of true masks"
                )


def test_evaluation_does_reach_masks():
    # The control of the test above: the same walk finds the way where there is one.
    assert "meddistill.data.masks" in reached_from("meddistill.stages.evaluate")


@pytest.mark.parametrize("module", ROOMS)
def test_modules_say_what_they_are(module):
    assert ast.get_docstring(_tree(module)), f"{module} does not say what room it is"


def _top_imports(module):
    found = set()
    for node in _tree(module).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) | {node.module}
    return found


def _is_standard(library):
    return library in sys.stdlib_module_names
