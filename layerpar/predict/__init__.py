"""How long steps take on other numbers of workers and other links: arithmetic over measured layers."""
