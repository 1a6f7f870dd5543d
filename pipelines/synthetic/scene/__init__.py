"""What stands where, and when: tables and wide scenes before they are filmed."""
