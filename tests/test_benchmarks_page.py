"""docs/benchmarks.md is what the kept figures give, and benchmarks do not import in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import page, pronunciation, scale, serve_load, shards, stream, workbench

pytestmark = pytest.mark.slow


def test_the_page_is_what_the_kept_figures_give() -> None:
    assert (page.DOCS / "benchmarks.md").read_text(encoding="utf-8") == page.text()


def test_every_kept_figure_has_its_place_on_the_page() -> None:
    kept = {path.stem for path in (Path(page.__file__).parent / "results").glob("*.json")}
    others = {
        "same_weights",
        "reliability_cases",
        "reliability_crash",
        "reliability_fuzz",
        "pronunciation",
        "scale",
        "serve_load",
        "shards",
        "stream",
        "workbench",
    }
    assert kept - others <= set(page.SECTIONS)


@pytest.mark.parametrize("benchmark", [pronunciation, scale, serve_load, shards, stream, workbench])
def test_a_section_of_another_page_is_what_the_kept_figures_give(benchmark: ModuleType) -> None:
    assert benchmark.PAGE.read_text(encoding="utf-8") == benchmark.text()


def test_benchmarks_do_not_import_each_other_in_a_circle() -> None:
    modules = {path.stem: path for path in Path(page.__file__).parent.glob("*.py")}
    imports = {}
    for name, path in modules.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                package, _, module = node.module.partition(".")
                names |= {module} if package == "benchmarks" else set()
        imports[name] = names & modules.keys()
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError
    assert order.index("page") < order.index("flat_cost")
