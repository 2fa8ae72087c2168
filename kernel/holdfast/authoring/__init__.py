"""The words that workflows are written with, and the checks that turn them into a definition."""
