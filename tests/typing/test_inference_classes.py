"""Both type checkers infer what `good_classes.py` says and find every mistake in `bad_classes.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.typing.test_inference import HERE, IGNORE, Checker, basedpyright, mypy


@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_parity_015_checkers_infer_classes_and_functions(checker: Checker, tmp_path: Path) -> None:
    """The good file has no mistake, and the bad one exactly those that are marked, line by line."""
    bad = (HERE / "bad_classes.py").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(bad, start=1) if IGNORE.search(line)}
    (tmp_path / "classes_bad.py").write_text("\n".join(IGNORE.sub("", line) for line in bad), encoding="utf-8")
    good = (HERE / "good_classes.py").read_text(encoding="utf-8")
    (tmp_path / "classes_good.py").write_text(good, encoding="utf-8")
    assert len(marked) > 15
    assert checker(tmp_path) == {"classes_bad.py": marked}


def test_good_classes_run() -> None:
    """What the checkers accept builds: the good file is no fiction."""
    code = "import good_classes; good_classes.functions()"
    subprocess.run([sys.executable, "-c", code], cwd=HERE, check=True, capture_output=True)
