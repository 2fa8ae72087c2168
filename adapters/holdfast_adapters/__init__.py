"""The technologies behind the kernel's ports, one folder each, strangers to one another."""
