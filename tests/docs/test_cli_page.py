"""The page on the command line against the commands that there are."""

from __future__ import annotations

import re
from typing import Final

from holdfast_hosts.cli.menu import MENU
from tests.docs.samples import ROOT, said, samples_of

PAGE: Final = ROOT / "docs" / "reference" / "cli.md"
OPTION: Final = re.compile(r"--[a-z][a-z-]+")


def test_the_page_is_made_of_samples() -> None:
    """The page shows what commands say by samples, which are executed with those of the other pages."""
    assert len(samples_of(PAGE)) >= 15


def test_the_page_names_every_command_and_option() -> None:
    """Whatever can be typed stands on the page."""
    page = PAGE.read_text(encoding="utf-8")
    for entry in MENU:
        for name in [f"{entry.word} {inner.word}" for inner in entry.entries] or [entry.word]:
            assert f"## holdfast {name}\n" in page
            options = {*OPTION.findall(said(f"{name} --help"))}
            assert not {option for option in options if option not in page}, name
