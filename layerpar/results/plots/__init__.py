"""Figures: each is one function from results to a matplotlib figure, listed in `draw.FIGURES`."""
