"""Ways of training one network, one file each; `base` is the contract between them and the loop."""
