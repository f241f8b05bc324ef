"""Checks of arguments other than a kernel's arrays, and their use by functions of every family."""

from fractions import Fraction

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil import _arguments


def test_integers_of_any_type():
    for three in (3, np.int32(3), np.uint64(3), np.array(3)):
        assert _arguments.integer(three, "f", "n", 0) == 3
    assert _arguments.integer(-(2**63), "f", "n") == -(2**63)
    for bad in (3.0, "3", None, True, np.True_, [3], np.arange(2), 3j):
        with pytest.raises(TypeError, match=r"f: n is .*, expected an integer"):
            _arguments.integer(bad, "f", "n")


def test_numbers_of_any_type():
    for x in (2, 2.0, np.float32(2), np.array(2.0), Fraction(2)):
        assert _arguments.number(x, "f", "x") == 2.0
    assert _arguments.number(0, "f", "x") == 0
    for bad in ("2", None, True, np.True_, 2j, np.complex64(2), [2.0], np.ones(1)):
        with pytest.raises(TypeError, match=r"f: x is .*, expected a real number"):
            _arguments.number(bad, "f", "x")
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected a finite nonnegative number"):
            _arguments.number(bad, "f", "x")
    with pytest.raises(ValueError, match=r"f: x is 0\.0, expected a finite positive number"):
        _arguments.number(0, "f", "x", positive=True)


def test_choices():
    assert _arguments.choice("b", "f", "way", ("a", "b")) == "b"
    assert _arguments.choice(None, "f", "way", (None, "b")) is None
    for bad in ("c", None, 3, ["a"], np.array(["a", "b"])):
        with pytest.raises(ValueError, match=r"f: way is .*, expected one of 'a', 'b'"):
            _arguments.choice(bad, "f", "way", ("a", "b"))


Z = np.ones((1, 2), complex)
Q = np.ones((1, 3, 1, 2))


def test_results_too_large_for_64_bits(backend):
    with pytest.raises(ValueError, match="too large to address with 64 bits"):
        qf.ssm.s4d_kernel(np.ones(1), Z, Z, 2**60)
    with pytest.raises(ValueError, match="too large to address with 64 bits"):
        qf.ssm.log_vandermonde(np.broadcast_to(Z, (2**30, 1, 2)), Z, 2**40)
    with pytest.raises(MemoryError):  # this result can be addressed
        qf.ssm.s4d_kernel(np.ones(1), Z, Z, 2**55)


F, S = np.ones((1, 2, 5), np.float32), np.ones((1, 3, 5), np.float32)
A = -np.ones((2, 3), np.float32)


def half(x):
    return x.astype(np.float16)


def double(x):
    return x.astype(np.float64)


AT_FAULT = [
    # the error names the array whose dtype is in the minority, or the later one of two
    (lambda: qf.ssm.selective_scan_fn(double(F), F, A, S, S), "u has dtype float64 but delta has float32; expected float32 or float16"),
    (lambda: qf.ssm.selective_scan_fn(F, double(F), A, S, S), "delta has dtype float64 but u has float32"),
    (lambda: qf.ssm.selective_scan_fn(F, F, double(A), S, S), "A has dtype float64 but u has float32; expected float32 or complex64;"),
    (lambda: qf.ssm.selective_scan_fn(F, F, A, S, S.astype(complex)), "C has dtype complex128 but u has float32"),
    (lambda: qf.ssm.selective_scan_fn(F, F, A, S, S + 0j), "C has dtype complex64 but A has float32; expected float32;"),
    (lambda: qf.ssm.fft_conv(F, double(F[0])), "k has dtype float64 but u has float32; expected float32 or float16 or bfloat16;"),
    (lambda: qf.kron.matvec([double(A), A, A], F), r"factors\[0\] has dtype float64 but factors\[1\] has float32; expected float32;"),
    (lambda: qf.ssm.s4d_kernel(A[:, 0], *[A.astype(complex)] * 2, 5), "dt has dtype float32 but A has complex128; expected float64;"),
    (lambda: qf.ssm.fft_conv_vjp(F, F[0], double(F)), "grad has dtype float64 but u has float32"),
    # half precision may be mixed with float32 if an argument accepts it
    (lambda: qf.ssm.selective_scan_fn(*map(half, (F, F, A, S, S))), "A has dtype float16, expected float32 or float64 or complex64"),
    (lambda: qf.ssm.selective_scan_fn(*map(half, (F, F)), A, half(S), double(S)), "C has dtype float64 but u has float16"),
    (lambda: qf.ssm.fft_conv(half(F), double(F[0])), "k has dtype float64 but u has float16; expected float32 or float16 or bfloat16;"),
    (lambda: qf.ssm.fft_conv(half(F), double(F[0]), double(A[:, 0])), "u has dtype float16 but k has float64; expected float64;"),
    (lambda: qf.ssm.linear_scan(half(F), half(F)), "a has dtype float16, expected float32"),
    (lambda: qf.ssm.fft_conv(half(F), F[0].astype(int)), "k has dtype int64, expected float32 or float64 or float16 or bfloat16"),
]  # fmt: skip


def test_errors_name_the_invalid_argument(entry_point):
    for call, text in AT_FAULT:
        for _ in range(2):
            with pytest.raises(TypeError, match=rf"(ssm|kron)\.\w+: {text}"):
                call()


def test_errors_say_how_to_fix_the_call():
    table = type("Series", (), {"__module__": "pandas.core", "to_numpy": None})()
    for u, text in (
        ([1.0, 2.0], r"u is list, .*; convert it: np.asarray\(u, np.float32\)"),
        (table, r"u is a pandas Series, .*; convert it: u.to_numpy\(\)"),
        (np.ma.masked_array(F), r"u is a masked array, .*; convert it: u.filled\(\)"),
        (F.astype(int), r"u has dtype int64, .*; convert it: u.astype\(np.float32\)"),
        (F + 0j, r"u has dtype complex64, .*; convert it: u.real"),
        (double(F), r"k has dtype float32 but u has float64; expected float64; convert it: k.astype\(np.float64\)"),
    ):
        with pytest.raises(TypeError, match=text):
            qf.ssm.fft_conv(u, F[0])
    for x, text in (([1j], r"np.asarray\(Lambda, np.complex128"), (table, r"Lambda.to_numpy"), (F, r"Lambda.astype\(np.complex128")):
        with pytest.raises(TypeError, match=f"convert it: {text}"):
            qf.ssm.discretize(x, Z, 0.1, "zoh")


def test_axes_that_are_swapped_missing_or_too_many_are_recognised():
    u, kernel, heads, gates = np.ones((2, 9, 4)), np.ones((4, 3)), np.ones((2, 3, 9, 5)), np.ones((2, 9, 3))
    for call, hint in (
        (lambda: qf.ssm.fft_conv(u, kernel), "u.swapaxes(-1, -2)"),
        (lambda: qf.ssm.fft_conv(u.swapaxes(1, 2), kernel.T), "k.swapaxes(-1, -2)"),
        (lambda: qf.ssm.s4d_kernel(np.ones(4), kernel.T + 0j, kernel.T + 0j, 9), "A.swapaxes(-1, -2), C.swapaxes(-1, -2)"),
        (lambda: qf.ssm.gka(heads, heads, heads, gates), "q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2)"),
        (lambda: qf.ssm.gka(heads[0], heads[0], heads[0]), "q[None], k[None], v[None]"),
        (lambda: qf.ssm.causal_conv1d_fn(u, np.ones((9, 1, 4))), "weight.squeeze(1)"),
        (
            lambda: qf.ssm.selective_scan_fn(u, u, -np.ones((4, 3)), gates, gates),
            "u.swapaxes(-1, -2), delta.swapaxes(-1, -2), B.swapaxes(-1, -2), C.swapaxes(-1, -2)",
        ),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value).endswith(f"; the call would be valid with {hint}")
    with pytest.raises(ValueError, match=r"expected \(H, Lk\) with H = 9 as in u$"):
        qf.ssm.fft_conv(u, np.ones((5, 6)))


@pytest.mark.torch
def test_errors_name_the_invalid_tensor(entry_point):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"k is a numpy array but u is a torch array; .*; convert one of them: torch.as_tensor\(k\)"):
        qf.ssm.fft_conv(torch.from_numpy(F), F[0])
    with pytest.raises(TypeError, match=r"k is a torch array but u is a numpy array; .*; convert one of them: torch.as_tensor\(u\)"):
        qf.ssm.fft_conv(F, torch.from_numpy(F[0]))
    with pytest.raises(TypeError, match=r"u has dtype int64, .*; convert it: u.to\(torch.float32\)"):
        qf.ssm.fft_conv(torch.from_numpy(F).long(), torch.from_numpy(F[0]))
    u, a, s = (torch.from_numpy(x) for x in (F, A, S))
    b16 = torch.bfloat16
    with pytest.raises(TypeError, match="A has dtype bfloat16, expected float32 or float64 or complex64 or complex128; convert it"):
        qf.ssm.selective_scan_fn(*(x.to(b16) for x in (u, u, a, s, s)))
    with pytest.raises(TypeError, match="k has dtype float64 but u has bfloat16; expected float32 or float16 or bfloat16"):
        qf.ssm.fft_conv(u.to(b16), u[0].double())
    y = qf.ssm.selective_scan_fn(u.to(b16), u.half(), a, s.to(b16), s)
    assert y.dtype == b16


def test_points_and_numbers():
    for value, error, text in (
        (np.array([0, 1], object), TypeError, "center has dtype object, expected real numbers"),
        (np.array(["0", "1"]), TypeError, "center has dtype str"),
        (np.array([1.0]), ValueError, "center has 1 coordinates, expected 2 to 1024"),
        ([1.0], ValueError, "center has 1 coordinates, expected 2 to 1024"),
        ([], ValueError, "center has 0 coordinates"),
        (np.array(1.0), ValueError, r"center has shape \(\), expected \(d,\)"),
        (np.zeros((2, 2)), ValueError, r"center has shape \(2, 2\)"),
        (3, TypeError, "center is int, expected a list or array of numbers"),
        ("12", TypeError, "center is str"),
        ({0: 1, 1: 2}, TypeError, "center is dict"),
        ([True, 0], TypeError, r"center\[0\] is True, expected a real number"),
        (["1", 0], TypeError, r"center\[0\] is '1', expected a real number"),
        ([10**400, 0], ValueError, r"center\[0\] is too large for a float"),
        ([0, np.nan], ValueError, r"center\[1\] is nan, expected a finite number"),
    ):  # fmt: skip
        for make in (lambda c: qf.wos.Ball(c, 1.0), lambda c: qf.wos.Fourier(np.ones(3), c)):
            with pytest.raises(error, match=text.removesuffix(" to 1024")):
                make(value)
    for value in ([0, 1], (0.5, 1), np.array([0, 1]), np.array([0, 1], np.float32)):
        assert qf.wos.Ball(value, 1).center.tolist() == [float(x) for x in value]
    for call in (
        lambda: qf.wos.Ball([0, 0], 10**400),
        lambda: qf.wos.Gaussians(np.ones(1), np.ones((1, 2)), 10**400),
        lambda: qf.wos.solve(qf.wos.Ball([0, 0], 1), np.zeros((1, 2)), dirichlet=10**400),
        lambda: qf.cheb.chebpts(3, (0, 10**400)),
        lambda: qf.kron.KroneckerOperator([np.eye(2)]).logdet(10**400),
    ):
        with pytest.raises(ValueError, match="too large for a float"):
            call()


SQUARE, POINT = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([[0.5, 0.5]])
SIZES = (2**31, 2**63, 2**70)  # beyond int32, beyond int64, beyond 64 bits


def solve(**options):
    return qf.wos.solve(qf.wos.Polygon(SQUARE), POINT, **{"dirichlet": 1.0, "walks": 2, "rng": 0, **options})


def slim(**options):
    return qf.kron.SlimKL(**{"means": np.zeros(1), "noise": 1.0, "tol": 1.0, **options}).fit(np.zeros(2), np.ones(2))


def pulled(**options):
    keywords = {"dirichlet": qf.wos.PerVertex(np.ones(4)), "walks": 2, "rng": 0, **options}
    return qf.wos.solve_vjp(qf.wos.Polygon(SQUARE), POINT, np.ones(1), **keywords)[1]["values"]


def mixture(**options):
    return qf.kron.spectral_mixture(F[0, 0], log_weights=F[0, 0], log_scales=F[0, 0], freqs=F[0, 0], **options)


# the integer arguments of every public function: a call, and how many of SIZES it accepts
INTEGERS = {
    "fft_conv num_threads": (lambda n: qf.ssm.fft_conv(F, F[0], num_threads=n), 0),
    "fft_conv_vjp num_threads": (lambda n: qf.ssm.fft_conv_vjp(F, F[0], F, num_threads=n), 0),
    "toeplitz_matmul num_threads": (lambda n: qf.ssm.toeplitz_matmul(A[0], A[0], A[0], num_threads=n), 0),
    "KroneckerOperator num_threads": (lambda n: qf.kron.KroneckerOperator([np.eye(2)], num_threads=n), 0),
    "SlimKL max_iter": (lambda n: slim(max_iter=n), 1),
    "SlimKL agents": (lambda n: slim(agents=n), 0),
    "SlimKL rng": (lambda n: slim(rng=n), 2),
    "vals2coeffs num_threads": (lambda n: qf.cheb.vals2coeffs(F, num_threads=n), 0),
    "solve num_threads": (lambda n: solve(num_threads=n), 0),
    "set_num_threads n": (qf.set_num_threads, 0),
    "s4d_kernel L": (lambda n: qf.ssm.s4d_kernel(np.ones(1), -Z, Z, n), 1),
    "s4_kernel L": (lambda n: qf.ssm.s4_kernel(np.ones(1), Z, Z, Z, Z, n), 1),
    "log_vandermonde L": (lambda n: qf.ssm.log_vandermonde(Z, -Z, n), 1),
    "log_vandermonde_transpose L": (lambda n: qf.ssm.log_vandermonde_transpose(np.ones((1, 3)), Z, -Z, n), 0),
    "linear_scan axis": (lambda n: qf.ssm.linear_scan(Q, Q, axis=n), 0),
    "gka num_iter": (lambda n: qf.ssm.gka(Q, Q, Q, num_iter=n), 0),
    "hippo_legs N": (qf.ssm.hippo_legs, 1),
    "dplr_legs N": (qf.ssm.dplr_legs, 1),
    "ptd_init N": (qf.ssm.ptd_init, 1),
    "ptd_init rng": (lambda n: qf.ssm.ptd_init(3, method="random", rng=n), 2),
    "s4d_init N": (lambda n: qf.ssm.s4d_init("legs", n), 1),
    "s4d_init rng": (lambda n: qf.ssm.s4d_init("random", 2, rng=n), 2),
    "spectral_mixture order": (lambda n: mixture(order=n), 0),
    "chebpts n": (qf.cheb.chebpts, 1),
    "chebpts n[1]": (lambda n: qf.cheb.chebpts([3, n]), 1),
    "from_function n": (lambda n: qf.cheb.ChebTucker.from_function(lambda x: x, (0, 1), n=n), 1),
    "vals2coeffs axes": (lambda n: qf.cheb.vals2coeffs(F, n), 0),
    "tucker rank": (lambda n: qf.cheb.tucker(F[0, 0], rank=n), 0),
    "solve walk_offset": (lambda n: solve(walk_offset=n), 1),
    "solve max_steps": (lambda n: solve(max_steps=n), 0),
    "solve rng": (lambda n: solve(rng=n), 2),
    "solve_vjp rng": (lambda n: pulled(rng=n), 2),
    "solve_vjp walk_offset": (lambda n: pulled(walk_offset=n), 1),
}  # fmt: skip
SIZE_OF_RESULT = ("L", "N", "n[1]", "n")  # 2^31 elements may or may not fit in memory
MAY_BE_NEGATIVE = ("linear_scan axis", "vals2coeffs axes")


def check_integers(name, call, first_valid):
    before = qf.get_num_threads()
    try:
        for n in SIZES[first_valid:]:
            with pytest.raises(ValueError, match=r"expected|out of range|larger than"):
                call(n)
        for n in SIZES[:first_valid] if name.split()[-1] not in SIZE_OF_RESULT else ():
            call(n)
        for bad in (True, np.True_, 1.0, "3", 3j, {3}, np.array([3.0]), np.ma.masked):
            with pytest.raises(TypeError, match=r" is "):
                call(bad)
        for n in (-1, -(2**63), -(2**70)) if name not in MAY_BE_NEGATIVE else ():
            with pytest.raises(ValueError, match="expected"):
                call(n)
    finally:
        qf.set_num_threads(before)


def test_integers_of_every_function():
    for name, (call, first_valid) in INTEGERS.items():
        print(name)
        check_integers(name, call, first_valid)


def test_sizes_too_large_for_any_array():
    for call in (qf.ssm.hippo_legs, qf.ssm.dplr_legs, qf.ssm.ptd_init, qf.cheb.chebpts, lambda n: qf.ssm.s4d_init("lin", n)):
        for n in (2**60, 2**62, 2**63 - 1):
            with pytest.raises(ValueError, match=r"is \d+, expected at most 576460752303423487"):
                call(n)


@pytest.mark.torch
def test_out_of_memory_in_torch(backend):
    torch = pytest.importorskip("torch")
    one = torch.ones(1, 2, dtype=torch.complex128)
    with pytest.raises(MemoryError, match=r"cannot allocate a result of shape \(1, 36028797018963968\) and dtype float64"):
        qf.ssm.s4d_kernel(torch.ones(1, dtype=torch.float64), -one, one, 2**55)


@pytest.mark.torch
def test_integers_of_layers():
    pytest.importorskip("torch")
    import quatrefoil.torch.nn as nn

    for make in (
        nn.S4D,
        lambda n: nn.S4D(2, n),
        nn.S5,
        lambda n: nn.S5(2, n),
        lambda n: nn.S5(2, 8, blocks=n),
        lambda n: nn.GatedKalmaNet(n, 2, 2),
        lambda n: nn.GatedKalmaNet(4, n, 2),
        lambda n: nn.GatedKalmaNet(4, 2, n),
        lambda n: nn.GatedKalmaNet(4, 2, 2, n),
        lambda n: nn.GatedKalmaNet(4, 2, 2, conv_size=n),
        lambda n: nn.GatedKalmaNet(4, 2, 2, num_iter=n),
        nn.S4D(2, 4).kernel,
        nn.S4D(2, 4).default_state,
        nn.S5(2, 4).default_state,
    ):
        for bad in (2**63, 2**70, -1, True, 1.0):
            with pytest.raises((ValueError, TypeError), match=r"expected (an integer|at least|at most|a multiple|an even|a divisor)"):
                make(bad)


@pytest.mark.torch
def test_numbers_of_tensors():
    torch = pytest.importorskip("torch")
    K = qf.kron.KroneckerOperator([torch.eye(2)])
    assert K.logdet(torch.tensor(1.0)) == K.logdet(1.0)
    with pytest.raises(NotImplementedError, match="no gradient with respect to tol"):
        qf.kron.gp_nll([torch.eye(3)], torch.ones(3), 0.1, tol=torch.tensor(1.0, requires_grad=True))
    for bad in (torch.tensor(1j), torch.tensor(True), torch.ones(1)):
        with pytest.raises(TypeError, match=r"noise is .*, expected a real number"):
            K.logdet(bad)
