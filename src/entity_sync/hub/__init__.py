"""One node's views, loads and fan-out, and its link to the others."""
