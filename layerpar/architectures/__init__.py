"""Network families, one file each; `base` says what a family must provide."""
