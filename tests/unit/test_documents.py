"""What the documents name exists: code, paths, commands, links, settings, codes, log entries."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from dataspace.settings import Settings

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sdk").glob("*.md"))
)
TOP = "connectors|consent|dataspace|demo|docs|policies|sdk|tests|tools|vault"


def text(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


@cache
def names(path: Path) -> frozenset[str]:
    """Functions and classes of a module, and the methods of its classes as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{one.name}" for one in methods}
    return frozenset(found)


def without_code(markdown: str) -> str:
    return re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


def targets(document: str) -> set[str]:
    """Make targets in code, whether in a block or in a line."""
    return set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text(document), flags=re.MULTILINE))


def anchors(document: str) -> set[str]:
    """Headings as a link names them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text(document)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_that_is_named_exists(document: str) -> None:
    named = re.findall(r"`([\w/.-]+\.py):([\w.]+)`", text(document))
    missing = [
        f"{path}:{name}" for path, name in named if not (ROOT / path).is_file() or name not in names(ROOT / path)
    ]
    assert missing == []


def test_architecture_names_code() -> None:
    assert len(re.findall(r"`[\w/.-]+\.py:[\w.]+`", text("ARCHITECTURE.md"))) > 100


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document: str) -> None:
    named = re.findall(rf"`((?:{TOP})/[\w/.-]*)`", text(document))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_internal_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text(document))):
        if re.match(r"https?://", target):
            continue
        place, _, anchor = target.partition("#")
        path = (ROOT / document).parent / place if place else ROOT / document
        assert path.exists(), target
        assert not anchor or anchor in anchors(str(path.resolve().relative_to(ROOT))), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_path_of_one_machine(document: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users)/\S*", text(document)) == []


@pytest.mark.parametrize("document", READMES)
def test_commands_are_make_targets(document: str) -> None:
    made = set(re.findall(r"^([a-z][a-z-]*):", text("Makefile"), flags=re.MULTILINE))
    assert targets(document) == made


def test_both_readmes_give_the_same_commands() -> None:
    assert targets(READMES[0]) == targets(READMES[1])


def test_both_readmes_give_the_sdk_example_of_the_sdk() -> None:
    examples = [
        re.findall(r"```python\n(.*?)```", text(one), flags=re.DOTALL)[:1] for one in (*READMES, "sdk/README.md")
    ]
    assert examples[0] == examples[1] == examples[2] != []


@pytest.mark.parametrize("document", READMES)
def test_settings_with_their_defaults(document: str) -> None:
    rows = dict(re.findall(r"^\| `DATASPACE_(\w+)` \| ([^|]+) \|", text(document), flags=re.MULTILINE))
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = rows[name.upper()]
        assert shown == f"`{field.default}`" if field.default != "" else "`" not in shown


def literal(path: str, name: str) -> object:
    """The literal that a module assigns to ``name``."""
    for node in ast.parse(text(path)).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return ast.literal_eval(node.value)
    raise LookupError(name)


def test_the_attempts_of_the_threat_model_are_those_that_are_played() -> None:
    _, table = text("docs/threat-model.md").split("## The 18 attempts of the demo")
    rows = re.findall(r"^\| (\w+) \|.*\| `(\w+)` \|$", table, flags=re.MULTILINE)
    played = literal("tests/security/test_attempts_that_must_fail.py", "EXPECTED")
    assert dict(rows) == played
    assert len(rows) == 18


def commits(path: Path) -> set[str]:
    """Functions that open a writing transaction of the service's database."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and "space.database.write()" in ast.unparse(node):
            found.add(f"{path.relative_to(ROOT)}:{node.name}")
    return found


def test_every_commit_point_of_the_flows_is_named() -> None:
    flows = (ROOT / "dataspace" / "flows").glob("*.py")
    made = set().union(*(commits(path) for path in flows))
    listed = set(re.findall(r"^\| `(dataspace/flows/[\w.]+:\w+)` \|", text("ARCHITECTURE.md"), flags=re.MULTILINE))
    assert listed == made
    assert len(made) > 10


def logged() -> set[str]:
    """Kinds of log entries that the flows write."""
    found = set()
    for path in (ROOT / "dataspace" / "flows").glob("*.py"):
        source = path.read_text("utf-8")
        found |= set(re.findall(r"(?:NewEntry\(|kind=)\"([a-z]+\.[a-z]+)\"", source))
    return found


def test_the_formats_list_every_kind_of_log_entry() -> None:
    listed = re.findall(r"^\| `([a-z]+\.[a-z]+)` \| (?:yes|no)", text("docs/formats.md"), flags=re.MULTILINE)
    assert set(listed) == logged()
