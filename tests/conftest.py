from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does than about us.
settings.register_profile("klag-trio", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("klag-trio")

# A shell starts what runs in its background with SIGINT ignored, and every child inherits that: the programs
# that tests end with it would not notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
