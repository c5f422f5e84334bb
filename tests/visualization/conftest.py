from tests.browser import browse, chromium  # noqa: F401  # fixtures
