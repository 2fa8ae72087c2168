"""The commands: one module each, with the command, its result and its handler."""
