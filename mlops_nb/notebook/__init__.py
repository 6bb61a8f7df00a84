"""Notebook files and the Python in their cells: pure functions over text."""
