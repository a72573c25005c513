"""How an application's entities are declared, and what their loads return."""
