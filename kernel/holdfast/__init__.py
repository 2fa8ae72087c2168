"""Durable workflows for Python: the kernel and the words workflows are written with."""
