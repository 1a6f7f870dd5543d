"""Reading files that may be damaged or hostile, and writing files completely or not at all."""
