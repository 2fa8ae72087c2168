"""Workflows drawn: folded into what their authors wrote, then as Mermaid text or as SVG."""
