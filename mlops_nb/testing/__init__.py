"""Test cells, their runs and gates."""
