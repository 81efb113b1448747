"""The metadata service: names. Never touches a byte of a model."""
