"""Data sets, one file each family; `base` says what one must provide."""
