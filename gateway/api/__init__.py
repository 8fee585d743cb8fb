"""The REST API: one module a service, JSON to protobuf and back."""
