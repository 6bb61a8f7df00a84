"""What cells did: IPython hooks, changed objects, files, lineage."""
