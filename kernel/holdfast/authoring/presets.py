"""Ready-made fragments for stage configs; combine them by inheritance.

They only add fields with defaults and bounds: what a stage does with them is the stage's business.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class AIConfig(BaseModel):
    """Which model a stage asks, and how."""

    model: str = "gemini-2.5-flash"
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)


class ConcurrencyConfig(BaseModel):
    """How a stage paces calls of its own to the outside."""

    concurrency: int = Field(default=5, gt=0)
    #: Pause between two calls, in milliseconds.
    delay_ms: int = Field(default=0, ge=0)
    max_retries: int = Field(default=3, ge=0)


class FeatureFlagsConfig(BaseModel):
    """Switches by name."""

    feature_flags: dict[str, bool] = Field(default_factory=dict)


class DebugConfig(BaseModel):
    """Switches for trying a stage out."""

    verbose: bool = False
    dry_run: bool = False


class StandardConfig(AIConfig, ConcurrencyConfig, FeatureFlagsConfig):
    """What most stages that call a model need."""


class FullConfig(StandardConfig, DebugConfig):
    """Everything there is."""
