"""The two services of modelwire: names (metadata) and bytes (blob)."""
