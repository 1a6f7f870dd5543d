"""The stand-in hand that every synthesized sequence shows."""

from functools import cache

from deformer.hand.mano import HandLayer, Hands, load_hands


@cache
def standin_hands() -> tuple[Hands, HandLayer]:
    """The stand-in hand and its layer, loaded once per process."""
    hands = load_hands("standin")
    return hands, HandLayer(hands).eval()
