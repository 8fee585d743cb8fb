"""What differs between platforms: how access is asked for, got, renewed and given back."""
