"""The worker's side: what starts here, and its reports."""
