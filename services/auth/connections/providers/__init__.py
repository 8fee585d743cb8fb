"""The differences between platforms: how access is requested, obtained, renewed and revoked."""
