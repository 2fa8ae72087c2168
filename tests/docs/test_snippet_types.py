"""What the pages show, as a type checker reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs.samples import PAGES, ROOT, files_of, name_of

SNIPPET: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def module_of(page: Path) -> str | None:
    """Return the snippets of a page as one module, which needs no import of the page's own files; None without any."""
    code = "\n\n".join(SNIPPET.findall(page.read_text(encoding="utf-8")))
    own = "|".join(name.removesuffix(".py") for name in files_of(page)) or "-"
    return re.sub(rf"^from (?:{own}) import .*$", "", code, flags=re.MULTILINE) or None


@pytest.mark.slow
def test_snippets_pass_the_type_checker(tmp_path: Path) -> None:
    """Everything that is shown is typed as strictly as the project itself."""
    for page in PAGES:
        if (code := module_of(page)) is not None:
            (tmp_path / f"{re.sub(r'[^a-z]', '_', name_of(page).lower())}.py").write_text(code, encoding="utf-8")
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'snippets'}"
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), cache, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
