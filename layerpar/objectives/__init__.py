"""What a block minimises while the others move; one file each."""
