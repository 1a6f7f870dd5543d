"""What a hand is: conventions, rotations, camera and box, the hand model."""
