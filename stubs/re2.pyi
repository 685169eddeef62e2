"""The part of google-re2 that is used here; the package has no types of its own."""

class error(Exception): ...

class Options:
    log_errors: bool
    never_capture: bool

class _Regexp:
    def search(self, text: str | bytes) -> _Match | None: ...

class _Match:
    def span(self) -> tuple[int, int]: ...

def compile(pattern: str, options: Options | None = None) -> _Regexp: ...
