"""The REST API: JSON to protobuf and back."""
