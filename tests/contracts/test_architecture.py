"""What depends on what: imports point one way, a foreign library lives in one module, training
cannot see a mask."""

import ast
import re
import sys
from functools import cache

import pytest
from support.paths import PACKAGE

# A module imports from its own row or one further down; a stage not even from its own.
LAYERS = [
    ["cli"],
    ["pipeline"],
    ["stages"],
    ["labelling"],
    ["colearning"],
    ["evaluation"],
    ["targets"],
    ["training"],
    ["student", "teachers", "detector"],
    ["data.prepare"],
    ["data.sources"],
    ["run"],
    ["data"],
    ["settings"],
    ["base"],
]
# Rooms that hold true masks, or read files of a source among which masks may be.
MASK_ROOMS = (
    "meddistill.run.true_masks",
    "meddistill.data.masks",
    "meddistill.data.sources",
    "meddistill.data.prepare",
    "meddistill.stages.prepare",
    "meddistill.evaluation",
)
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


def _tree(module):
    return _parsed(MODULES[module])


@cache
def _parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _type_only(tree):
    """Imports under `if TYPE_CHECKING:` do not happen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from ast.walk(node)


def imports(module):
    """Everything that `module` imports, at its top or inside a function, as full module names."""
    return _imports_of(MODULES[module])


@cache
def _imports_of(path):
    found = set()
    tree = _parsed(path)
    skipped = set(_type_only(tree))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & MODULES.keys()
            found |= submodules
            if len(submodules) < len(names):
                found.add(node.module)
    return found


@cache
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
    # The innermost room that is named: `data.prepare` stands above `run`, the rest of `data` below it.
    for room in (".".join(module.split(".")[1:3]), module.split(".")[1]):
        for depth, rooms in enumerate(LAYERS):
            if room in rooms:
                return depth
    raise AssertionError(
        f"{module} is in no layer: add it to LAYERS, and to the map in CONTRIBUTING"
    )


@pytest.mark.parametrize("module", ROOMS)
def test_imports_point_one_way(module):
    ours = [name for name in imports(module) if name in MODULES and name != "meddistill"]
    upward = [name for name in ours if _layer(name) < _layer(module)]
    assert upward == [], f"{module} imports from above"


def test_the_map_in_contributing_has_the_rooms_in_this_order():
    page = (PACKAGE.parent / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page[page.index("| floor of ") :].split("\n\n")[0]
    firsts = re.findall(r"^\| `([^`]+?)(?:/|\.py)`", table, flags=re.MULTILINE)
    depths = [_layer(f"meddistill.{room.replace('/', '.')}") for room in firsts]
    assert depths == sorted(depths)
    assert set(depths) == set(range(len(LAYERS)))


@pytest.mark.parametrize(
    "module", [name for name in ROOMS if name.startswith("meddistill.stages.")]
)
def test_stages_meet_on_disk_only(module):
    assert [name for name in imports(module) if name.startswith("meddistill.stages.")] == []


def test_no_module_needs_itself():
    """Two modules that import each other are one thing in two files, or a thing in the wrong place."""
    circles = []
    for module in ROOMS:
        ours = [name for name in imports(module) if name in MODULES and name != "meddistill"]
        circles += [f"{module} -> {name}" for name in ours if module in reached_from(name)]
    assert circles == []


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


def ways_to_a_mask(start):
    """The modules that hold true masks, or read files that may be masks, which `start` reaches; each with the chain of
    imports that leads there."""
    chains, waiting = {start: [start]}, [start]
    while waiting:
        module = waiting.pop()
        for name in sorted(imports(module)):
            if name in MODULES and name != "meddistill" and name not in chains:
                chains[name] = [*chains[module], name]
                waiting.append(name)
    return {
        name: " -> ".join(chain)
        for name, chain in chains.items()
        if any(name == room or name.startswith(f"{room}.") for room in MASK_ROOMS)
    }


def test_distill_has_no_way_to_a_mask():
    assert "meddistill.targets.making" in reached_from(
        "meddistill.stages.distill"
    )  # the walk does go somewhere
    assert ways_to_a_mask("meddistill.stages.distill") == {}
    assert ways_to_a_mask("meddistill.training.loop") == {}


def test_an_import_of_a_mask_room_would_be_seen(monkeypatch, tmp_path):
    """The test above is not blind: put such an import into a module that distill reaches, and it is named."""
    inside = tmp_path / "packing.py"
    inside.write_text(
        "def hide():\n    from meddistill.run.true_masks import mask_path\n    return mask_path\n"
    )
    monkeypatch.setitem(MODULES, "meddistill.targets.packing", inside)
    found = ways_to_a_mask("meddistill.stages.distill")
    assert found.keys() == {"meddistill.run.true_masks"}
    assert found["meddistill.run.true_masks"].endswith(
        "targets.packing -> meddistill.run.true_masks"
    )


def test_only_the_mask_rooms_spell_the_folder_of_masks():
    """No other module can build its path by itself: the folder's name stands in `run.true_masks` alone."""
    for module in reached_from("meddistill.stages.distill"):
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                names = [
                    part.value for part in ast.walk(node.right) if isinstance(part, ast.Constant)
                ]
                assert not any("masks" in str(name) for name in names), module


def test_evaluation_does_reach_masks():
    # The control of the tests above: the same walk finds the way where there is one.
    assert ways_to_a_mask("meddistill.stages.evaluate").keys() >= {
        "meddistill.run.true_masks",
        "meddistill.data.masks",
    }


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
