"""What a user installs: the wheel, the editable checkout, their files, dependencies and script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("holdfast", "holdfast_adapters", "holdfast_hosts", "holdfast_testing")
RINGS: Final = ("kernel", "adapters", "hosts", "testing")
SCRIPTS: Final = "Scripts" if os.name == "nt" else "bin"

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: object, cwd: Path = ROOT) -> str:
    """Return the output of a command that must succeed, with the variables of this environment out of its way."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def closure(*names: str) -> set[str]:
    """Return the distributions that *names* need, without extras, themselves left out."""
    found: set[str] = set()
    queue = [Requirement(line) for name in names for line in metadata.requires(name) or ()]
    while queue:
        wanted = queue.pop()
        extras = ["", *wanted.extras]
        if "extra" in str(wanted.marker) or not (wanted.marker is None or wanted.marker.evaluate()):
            continue
        assert extras == [""], f"the core asks for an extra: {wanted}"
        if wanted.name not in found:
            found.add(wanted.name)
            queue += [Requirement(line) for line in metadata.requires(wanted.name) or ()]
    return found


class Environment:
    """A fresh virtual environment that holds only the dependencies it is given, linked from this one."""

    def __init__(self, folder: Path, *distributions: str) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        self.python = folder / SCRIPTS / "python"
        self.scripts = folder / SCRIPTS
        self.site = Path(run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        for name in distributions:
            self._link(name)

    def _link(self, name: str) -> None:
        distribution = metadata.distribution(name)
        for part in {path.parts[0] for path in distribution.files or () if path.parts[0] not in {"..", "__pycache__"}}:
            target = self.site / part
            if not target.exists():
                target.symlink_to(Path(str(distribution.locate_file(part))))

    def install(self, *words: object) -> None:
        """Install without a network, by uv when it works, else by pip."""
        uv = shutil.which("uv")
        if uv and subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0:
            run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", self.python, *words)
        else:
            run(
                sys.executable,
                "-m",
                "pip",
                "--python",
                self.python,
                "install",
                "--quiet",
                "--no-index",
                "--no-deps",
                *words,
            )

    def imports(self, cwd: Path) -> dict[str, Path]:
        """Return the folder each package is imported from, in a process that starts in *cwd*."""
        names = ", ".join(PACKAGES)
        code = f"import {names}\nfor m in ({names}): print(m.__file__)"
        places = [Path(line).parent for line in run(self.python, "-c", code, cwd=cwd).splitlines()]
        return dict(zip(PACKAGES, places, strict=True))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel that was built from it, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and its core dependencies, no extras."""
    environment = Environment(tmp_path_factory.mktemp("wheel"), *closure("holdfast"))
    environment.install(*built.glob("*.whl"))
    return environment


def test_wheel_holds_four_typed_packages_and_nothing_else(built: Path) -> None:
    """The wheel holds the four packages, each marked as typed, and no tests."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)


def test_wheel_holds_every_file_of_the_packages(built: Path) -> None:
    """No file below a package is missing from the wheel, whatever its type."""
    (wheel,) = built.glob("*.whl")
    files = {
        path.relative_to(ROOT / ring).as_posix()
        for ring in RINGS
        for path in (ROOT / ring).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_source_archive_can_test_itself(built: Path) -> None:
    """The source archive holds the tests, the documentation, the launcher and the lock."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    wanted = {
        "LICENSE",
        "README.md",
        "dev",
        "requirements.lock",
        "pyproject.toml",
        "tests/test_packaging.py",
        "docs/index.md",
    }
    assert wanted <= names


def test_installed_wheel_imports_without_extras(installed: Environment, tmp_path: Path) -> None:
    """With the core dependencies alone all four packages can be imported, from the environment and not the checkout."""
    assert installed.imports(tmp_path) == {package: installed.site / package for package in PACKAGES}
    extras = run(
        installed.python, "-c", "import importlib.util as u; print(u.find_spec('psycopg'), u.find_spec('pytest'))"
    )
    assert extras.split() == ["None", "None"]


def test_installed_script_answers(installed: Environment, tmp_path: Path) -> None:
    """The command `holdfast --help` works after a plain installation."""
    assert "holdfast" in run(installed.scripts / "holdfast", "--help", cwd=tmp_path)


def test_editable_install_imports_from_the_checkout(tmp_path: Path) -> None:
    """After an editable installation all four packages come from their rings in the checkout."""
    backend = {"hatchling", "editables", *closure("hatchling")}
    environment = Environment(tmp_path / "venv", *closure("holdfast"), *backend)
    environment.install("--no-build-isolation", "-e", ROOT)
    assert environment.imports(tmp_path) == {
        name: ROOT / ring / name for ring, name in zip(RINGS, PACKAGES, strict=True)
    }


def test_this_environment_is_the_one_under_test() -> None:
    """The packages that the other tests import come from this checkout."""
    for package in PACKAGES:
        assert ROOT in Path(__import__(package).__file__ or "").resolve().parents
