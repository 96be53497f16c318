"""The graph passes of qmc, ordinary TVM passes; one per file."""
