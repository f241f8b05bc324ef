from devices import afar  # noqa: F401
