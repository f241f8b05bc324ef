"""The parser of machine code in ``cross/sass.py``, which .ci/nvcc runs on all kernels."""

from cross import sass

# A loop over blocks, with a loop over terms in it that calls a subroutine; then what the compiler appends.
LISTING = """
        /*0000*/                   S2R R0, SR_CTAID.X ;                 /* 0x0 */
        /*0010*/                   DADD R2, R2, 1 ;                     /* 0x0 */
        /*0020*/                   LDG.E.64.CONSTANT R4, [R8.64] ;      /* 0x0 */
        /*0030*/                   LDS.128 R12, [R5] ;                  /* 0x0 */
        /*0040*/               @P0 CALL.REL.NOINC 0x90 ;                /* 0x0 */
        /*0050*/              @!P1 FFMA R4, R4, R12, R4 ;               /* 0x0 */
        /*0060*/               @P2 BRA 0x20 ;                           /* 0x0 */
        /*0070*/              @!P3 BRA P4, 0x10 ;                       /* 0x0 */
        /*0080*/                   EXIT ;                               /* 0x0 */
        /*0090*/                   MUFU.RCP64H R9, R11 ;                /* 0x0 */
        /*00a0*/                   DFMA R14, -R10, R8, 1 ;              /* 0x0 */
        /*00b0*/                   RET.REL.NODEC R8 0x0 ;               /* 0x0 */
        /*00c0*/                   BRA 0xc0;                            /* 0x0 */
"""


def test_innermost_loops_and_their_subroutines():
    code = [(int(a, 16), op, rest) for a, op, rest in sass.INSTRUCTION.findall(LISTING)]
    assert len(code) == 13
    loops = [op for _, op, _ in sass.innermost(code)]
    assert loops == ["LDG.E.64.CONSTANT", "LDS.128", "CALL.REL.NOINC", "FFMA", "BRA", "MUFU.RCP64H", "DFMA", "RET.REL.NODEC"]
    assert [op for op in loops if sass.DOUBLE.match(op)] == ["DFMA"]
    assert [sass.width(op) for op in loops[:2]] == [64, 128]


def kernel(name, arch="90", registers=32, threads=256):
    return sass.Kernel(arch, name, registers, 0, threads, 100, 10, 0, 0, {})


def test_kernels_by_method_and_precision():
    one = kernel("void quatrefoil::ssm::scan::cuda::scan_along<float, true>(float const*)")
    assert (one.method, one.is_float32) == ("ssm/scan", True)
    assert not kernel("void quatrefoil::cuda::add_all_parts<double>(long)").is_float32
    assert kernel("void quatrefoil::cuda::add_all_parts<float>(long)").method == "core"


def test_blocks_of_a_multiprocessor():
    """As NVIDIA's occupancy calculator says: registers are allocated to warps in units of 256."""
    assert kernel("", registers=32).blocks == 8
    assert kernel("", registers=86).blocks == 2
    assert kernel("", registers=79).blocks == 3
    assert kernel("", arch="86", registers=32).blocks == 6
    assert kernel("", registers=16, threads=32).blocks == 32
