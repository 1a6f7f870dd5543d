"""The synthetic world: a hand that grasps objects on a table, drawn like the real datasets."""
