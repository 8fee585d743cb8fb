"""The HTTP side: REST, events for browsers, and pages."""
