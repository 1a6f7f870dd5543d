"""The hand that moves: how it bends, grasps, reaches."""
