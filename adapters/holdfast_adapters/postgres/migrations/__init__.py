"""The schema as numbered SQL files, forward only."""
