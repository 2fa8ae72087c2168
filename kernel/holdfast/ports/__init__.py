"""The ports: everything the kernel awaits, one Protocol a module, its contract in the docstring."""
