"""Events for browsers: server-sent events, complete and in order on any replica."""
