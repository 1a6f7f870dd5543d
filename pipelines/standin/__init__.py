"""How the stand-in hand was made; `make_standin` makes it anew."""
