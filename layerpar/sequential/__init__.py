"""Sequential layerwise training: one block after the other, each on top of the finished ones."""
