"""Messages between the laboratory and other systems: orders that come in and results that go out."""
