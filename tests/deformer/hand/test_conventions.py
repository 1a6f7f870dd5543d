from deformer.hand import conventions


def test_mano_names_arrive_at_dataset_names():
    tips = [f"{finger}_tip" for finger in conventions.FINGERS]
    in_mano_order = [*conventions.MANO_JOINT_NAMES, *tips]
    assert tuple(in_mano_order[i] for i in conventions.MANO_TO_DATASET) == conventions.JOINT_NAMES


def test_parents_agree_between_the_orders():
    for joint, parent in enumerate(conventions.MANO_PARENTS[1:], 1):
        in_dataset = conventions.JOINT_NAMES.index(conventions.MANO_JOINT_NAMES[joint])
        expected = conventions.JOINT_NAMES.index(conventions.MANO_JOINT_NAMES[parent])
        assert conventions.JOINT_PARENTS[in_dataset] == expected
