"""What all tests are run with."""

from __future__ import annotations

import pytest

# Before any test imports the suites, so that their asserts tell what they compared.
pytest.register_assert_rewrite("holdfast_testing.contracts")
