"""Archives and records on as many nodes as were promised."""
