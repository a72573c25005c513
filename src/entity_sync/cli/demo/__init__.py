"""A small live application: the orders of a bakery, on SQLite."""
