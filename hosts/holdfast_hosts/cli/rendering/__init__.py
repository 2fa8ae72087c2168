"""How things look to a person: pure functions from entities to lines and tables."""
