import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.passes import SimplifyDataMovement
from qmc.passes.data_movement import find_movement
from tests.passes.modules import assert_becomes, assert_unchanged


def test_inverse_transposes_vanish() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 2, 3, 1])
                b = R.permute_dims(a, axes=[0, 3, 1, 2])
                y = R.tanh(b)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                y = R.tanh(x)
                R.output(y)
            return y

    assert_becomes(SimplifyDataMovement(), Before, Expected)


def test_reshapes_merge_and_transposes_of_single_pixels_are_reshapes() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 1, 1), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 2, 3, 1])
                b = R.expand_dims(a, axis=[1])
                y = R.squeeze(b, axis=[1, 2, 3])
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 1, 1), "float32")):
            with R.dataflow():
                y = R.reshape(x, R.shape([1, 3]))
                R.output(y)
            return y

    assert_becomes(SimplifyDataMovement(), Before, Expected)


def test_channels_last_flatten_is_a_transpose_and_a_reshape() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 2, 3, 1])
                b = R.reshape(a, R.shape([1, 2, 30]))
                y = R.reshape(b, R.shape([1, 60]))
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 3, 4, 5), "float32")):
            with R.dataflow():
                a = R.permute_dims(x, axes=[0, 2, 3, 1])
                y = R.reshape(a, R.shape([1, 60]))
                R.output(y)
            return y

    assert_becomes(SimplifyDataMovement(), Before, Expected)


def test_channel_shuffle_gets_four_dimensions() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 6, 4, 5), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([1, 2, 3, 4, 5]))
                b = R.permute_dims(a, axes=[0, 2, 1, 3, 4])
                y = R.reshape(b, R.shape([1, 6, 4, 5]))
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 6, 4, 5), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([1, 2, 3, 20]))
                b = R.permute_dims(a, axes=[0, 2, 1, 3])
                y = R.reshape(b, R.shape([1, 6, 4, 5]))
                R.output(y)
            return y

    assert_becomes(SimplifyDataMovement(), Before, Expected)
    assert_unchanged(SimplifyDataMovement(), Expected)


def test_depth_to_space_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 12, 4, 5), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([1, 3, 2, 2, 4, 5]))
                b = R.permute_dims(a, axes=[0, 1, 4, 2, 5, 3])
                y = R.reshape(b, R.shape([1, 3, 8, 10]))
                R.output(y)
            return y

    assert_unchanged(SimplifyDataMovement(), Module)


@given(st.tuples(*[st.integers(1, 4)] * 4), st.permutations(range(4)))
def test_movement_that_is_found_moves_every_element_alike(
    shape: tuple[int, ...], perm: list[int]
) -> None:
    order = np.arange(np.prod(shape), dtype=np.int32).reshape(shape).transpose(perm)
    movement = find_movement(shape, order)
    assert movement is not None
    values = np.random.default_rng(0).standard_normal(shape)
    expected = values.transpose(perm).reshape(-1)
    assert np.array_equal(values.transpose(movement.perm).reshape(-1), expected)
