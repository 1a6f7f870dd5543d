"""Files that may be damaged or hostile, and files that are whole or not there."""
