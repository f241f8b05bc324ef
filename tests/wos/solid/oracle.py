"""Green's functions of balls by Bessel functions of 40 digits."""

import mpmath


def source_weights(d, s, z):
    """G_screened / G and R |its change with the centre| / G in a ball, at the radius s R."""
    with mpmath.workdps(40):
        s, z, nu = mpmath.mpf(s), mpmath.mpf(z), mpmath.mpf(d) / 2 - 1
        area = 2 * mpmath.pi ** (mpmath.mpf(d) / 2) / mpmath.gamma(mpmath.mpf(d) / 2)
        plain = (s ** (2 - d) - 1) / ((d - 2) * area)
        scale = (z / (2 * mpmath.pi * s)) ** nu / (2 * mpmath.pi)
        k, i = mpmath.besselk, mpmath.besseli
        g = scale * (k(nu, z * s) - i(nu, z * s) * k(nu, z) / i(nu, z))
        slope = scale * z * (k(nu + 1, z * s) - i(nu + 1, z * s) * k(nu + 1, z) / i(nu + 1, z))
        return float(g / plain), float(slope / plain)
