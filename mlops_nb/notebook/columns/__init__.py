"""Column-level lineage of a cell: `column_edges`."""

from mlops_nb.notebook.columns.edges import column_edges

__all__ = ["column_edges"]
