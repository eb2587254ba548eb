"""Layer-parallel training: where to cut, what each block minimises, what crosses between blocks."""
