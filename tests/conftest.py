"""What all tests are run with."""

from __future__ import annotations

import signal

import pytest

# Before any test imports the suites, so that their asserts tell what they compared.
pytest.register_assert_rewrite("holdfast_testing.contracts")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
