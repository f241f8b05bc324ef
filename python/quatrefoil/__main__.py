"""``python -m quatrefoil``."""

from .cli import main

raise SystemExit(main())
