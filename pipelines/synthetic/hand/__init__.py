"""How the hand bends, grasps and moves."""
