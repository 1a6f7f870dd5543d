"""The synthetic world: a hand that grasps objects on a table, filmed like the real datasets."""
