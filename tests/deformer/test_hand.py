import numpy as np

from deformer import hand


def test_orders_are_inverse_permutations():
    assert sorted(hand.MANO_TO_DATASET) == list(range(21))
    assert (hand.MANO_TO_DATASET[hand.DATASET_TO_MANO] == np.arange(21)).all()


def test_mano_names_arrive_at_dataset_names():
    tips = [f"{finger}_tip" for finger in hand.FINGERS]
    in_mano_order = [*hand.MANO_JOINT_NAMES, *tips]
    assert tuple(in_mano_order[i] for i in hand.MANO_TO_DATASET) == hand.JOINT_NAMES


def test_parents_stay_on_a_finger():
    for joint, parent in enumerate(hand.JOINT_PARENTS[1:], 1):
        finger, part = hand.JOINT_NAMES[joint].split("_")
        name = hand.JOINT_NAMES[parent]
        assert name == "wrist" if part == "1" else name.startswith(finger)


def test_parents_agree_between_the_orders():
    for joint, parent in enumerate(hand.MANO_PARENTS[1:], 1):
        in_dataset = hand.JOINT_NAMES.index(hand.MANO_JOINT_NAMES[joint])
        expected = hand.JOINT_NAMES.index(hand.MANO_JOINT_NAMES[parent])
        assert hand.JOINT_PARENTS[in_dataset] == expected
