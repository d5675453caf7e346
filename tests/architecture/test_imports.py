"""The house's rules about who may import whom."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = {"torch", "numpy", "scipy", "safetensors"}
BLOCK = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
for module in {modules!r}:
    importlib.import_module(module)
"""


def imported(package: str) -> dict[Path, set[str]]:
    """Top-level names that each file of a package imports, anywhere in it."""
    found: dict[Path, set[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
        found[path] = names
    assert found, f"{package} has no files"
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("pool", {"ray", "mlflow", "fastapi", "serve", "tune"}),
        ("serve", {"tune"}),
        ("tune", {"serve", "fastapi"}),
    ],
)
def test_packages_keep_to_themselves(package: str, forbidden: set[str]) -> None:
    offenders = {path.name: names & forbidden for path, names in imported(package).items() if names & forbidden}
    assert offenders == {}


def test_in_the_service_mlflow_is_known_to_one_file_which_imports_it_when_asked_alone() -> None:
    assert [path.name for path, names in imported("serve").items() if "mlflow" in names] == ["registry.py"]
    assert import_with_blocked(["serve.registry", "serve.app", "serve.__main__"], {"mlflow"}) == ""


def modules_of_pool(without: str) -> list[str]:
    found = [module.name for module in pkgutil.walk_packages([str(ROOT / "pool")], "pool.")]
    return ["pool", *(name for name in found if not name.startswith(without))]


def import_with_blocked(modules: list[str], blocked: set[str]) -> str:
    code = BLOCK.format(blocked=blocked, modules=modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.stderr


def test_pool_imports_without_ray_mlflow_and_fastapi() -> None:
    modules = modules_of_pool(without="none")
    assert len(modules) > 20
    assert import_with_blocked(modules, {"ray", "mlflow", "fastapi", "starlette", "typer", "rich"}) == ""


def test_all_but_dicom_imports_where_only_torch_numpy_scipy_and_safetensors_are() -> None:
    carried = {name.split(".")[0] for name in sys.modules} | {
        "matplotlib",
        "nibabel",
        "pydicom",
        "highdicom",
        "jaxtyping",
    }
    installed = {
        top
        for top in carried | {"PIL", "pandas", "yaml", "requests", "contourpy", "skimage", "monai", "pydantic", "ray"}
        if not top.startswith("_") and top not in sys.stdlib_module_names
    }
    needed_by_torch = {"sympy", "mpmath", "networkx", "typing_extensions", "filelock", "fsspec", "jinja2", "markupsafe"}
    blocked = (
        installed - BARE - needed_by_torch - {"pool", "torchgen", "functorch", "numpy", "setuptools", "pkg_resources"}
    )
    assert {"matplotlib", "nibabel", "pydicom", "jaxtyping"} <= blocked
    assert import_with_blocked(modules_of_pool(without="pool.dicom"), blocked) == ""


def test_files_hold_one_concept_each() -> None:
    too_long = {
        str(path.relative_to(ROOT)): n
        for package in ("pool", "serve", "tune", "deploy")
        for path in (ROOT / package).rglob("*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 250
    }
    assert too_long == {}
