"""Scoring: run directories in, tables and figures out. Knows runs by their files only."""
