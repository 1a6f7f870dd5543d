"""The things that hands hold."""
