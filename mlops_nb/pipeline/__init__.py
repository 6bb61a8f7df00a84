"""Tagged cells as components, plans, and headless runs."""
