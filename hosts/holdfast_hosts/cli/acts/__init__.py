"""What the commands do once their words are understood; imported only then."""
