"""Model versions and what made them."""
