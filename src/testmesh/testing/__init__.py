"""Everything that touches a submission: its archive, detection, environment, box, run and grade."""
