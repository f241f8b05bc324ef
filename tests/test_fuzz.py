"""The fuzzer reaches every op of the tables and every model."""

import fuzz
from case import all_cases
from quatrefoil._spec import FAMILIES


def test_every_op_is_drawn():
    ops = {(op.family, op.name) for family in FAMILIES.values() for op in family if op.primal is None}
    others = {("kron", "rmatvec"), *(("ssm", f"log_vandermonde{name}_complex") for name in ("", "_transpose"))}  # by options, dtypes
    assert ops - {(family, case.op) for family, case in all_cases()} - {("ssm", "broadcast_rows"), ("wos", "along")} == others


def test_models_have_programs():
    functions, models = fuzz.attacks()
    assert {f.__module__.partition(".")[0] for f in functions} == {"ssm", "kron", "cheb", "wos"}
    assert {f.__module__ for f in models} >= {"kron.attacks", "kron.gphm.attacks", "kron.slimkl.attacks", "cheb.attacks", "wos.attacks"}
