"""The hand: conventions, rotations, camera and box, the hand model."""
