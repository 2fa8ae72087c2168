"""What can be typed: the signature and the help of each command, and nothing that takes time to import."""
