"""The entities: what a run is made of, each with its legal transitions as a table."""
