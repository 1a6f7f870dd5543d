"""What is in a built dataset: the rules that it keeps, and other views of it."""
