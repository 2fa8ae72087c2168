"""Both type checkers infer what `good.py` says and find every mistake in `bad.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
GOOD: Final = HERE / "good.py"
RINGS: Final = [str(ROOT / ring) for ring in ("kernel", "adapters", "hosts", "testing")]
IGNORE: Final = re.compile(r"  # type: ignore\[[a-z,-]+\].*$")

#: Gives the lines of each file, by name, in which a checker finds mistakes.
Checker = Callable[[Path], dict[str, set[int]]]


def mypy(folder: Path) -> dict[str, set[int]]:
    """Check the files of *folder* by mypy, as strictly as the project itself."""
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'inference'}"
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), cache, "--no-error-summary"]
    done = subprocess.run([*command, *files(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    found = re.findall(r"^(?:.*/)?(\w+\.py):(\d+): error:", done.stdout, re.MULTILINE)
    return gathered([(name, int(line)) for name, line in found])


def basedpyright(folder: Path) -> dict[str, set[int]]:
    """Check the files of *folder* by basedpyright, as strictly as the project itself."""
    settings = {"extraPaths": RINGS, "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps({**settings, "include": files(folder)}), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "-p", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    found = [one for one in json.loads(done.stdout)["generalDiagnostics"] if one["severity"] == "error"]
    return gathered([(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found])


def files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.py"))]


def gathered(places: list[tuple[str, int]]) -> dict[str, set[int]]:
    lines: dict[str, set[int]] = {}
    for name, line in places:
        lines.setdefault(name, set()).add(line)
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the good file and the bad one, from which the ignores are taken."""
    (tmp_path / "inference_good.py").write_text(GOOD.read_text(encoding="utf-8"), encoding="utf-8")
    bare = [IGNORE.sub("", line) for line in bad_lines()]
    (tmp_path / "inference_bad.py").write_text("\n".join(bare), encoding="utf-8")
    return tmp_path


def bad_lines() -> list[str]:
    return (HERE / "bad.py").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_parity_015_checkers_infer_and_find_what_is_marked(checker: Checker, folder: Path) -> None:
    """The good file has no mistake, and the bad one exactly those that are marked, line by line."""
    marked = {number for number, line in enumerate(bad_lines(), start=1) if IGNORE.search(line)}
    assert len(marked) > 20
    assert checker(folder) == {"inference_bad.py": marked}


def test_good_file_runs() -> None:
    """What the checkers accept builds: the good file is no fiction."""
    code = "import good; good.pipelines(); good.stages_without_input(); good.options(); good.variance(); "
    code += "good.branches(); good.six_cases(); good.maps(); good.undone(); good.joins(); good.graphs()"
    subprocess.run([sys.executable, "-c", code], cwd=HERE, check=True, capture_output=True)
