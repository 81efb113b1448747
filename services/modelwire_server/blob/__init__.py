"""The blob service: bytes under their digests. Never learns a name."""
