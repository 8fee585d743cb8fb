"""Server-sent events: complete and in order on any replica."""
