"""The contracts of the ports as tests: an adapter's test class inherits one and supplies its fixtures."""
