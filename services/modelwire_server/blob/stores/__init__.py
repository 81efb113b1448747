"""Pack stores, one file each."""
