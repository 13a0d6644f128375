"""A test that isn't marked slow and takes more CPU-seconds than the ini option `cpu_limit` fails, its processes included."""
import pytest

try:
    import resource
except ImportError:  # Windows, where nothing is counted
    resource = None

SINCE = pytest.StashKey[float]()


class CpuLimit:
    """Counts set-up and call of each test; fixtures that are set up once for several tests are counted apart."""

    def __init__(self, limit):
        self.limit, self.told, self.apart = limit, 0., 0.

    def tell(self, seconds):
        """Count the seconds of a process that this one does not wait for, as the process says them."""
        self.told += seconds

    def seconds(self):
        """CPU-seconds of this process and of those that it waited for, user and system."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)] if resource else []
        return sum(u.ru_utime + u.ru_stime for u in used) + self.told - self.apart

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        before = self.seconds()
        try:
            return (yield)
        finally:
            self.apart += self.seconds() - before if fixturedef.scope != "function" else 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        item.stash[SINCE] = self.seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "call":
            spent = self.seconds() - item.stash[SINCE]
            report.user_properties.append(("cpu", spent))
            if report.passed and spent > self.limit and not item.get_closest_marker("slow"):
                report.outcome = "failed"
                report.longrepr = (f"It took {spent:.1f} CPU-seconds, and a test may take {self.limit:g}. Make it smaller, share what it "
                                   "sets up in a session fixture, or mark it slow and leave a quicker one in its place.")
        return report

    def pytest_terminal_summary(self, terminalreporter, config):
        """With --durations=N, the N tests that took the most CPU-seconds."""
        if config.option.durations:
            spent = {report.nodeid: dict(report.user_properties)["cpu"] for reports in terminalreporter.stats.values() for report in reports
                     if getattr(report, "when", "") == "call" and "cpu" in dict(report.user_properties)}
            terminalreporter.section(f"{sum(spent.values()):.0f} CPU-seconds in tests, those of shared fixtures apart")
            for name in sorted(spent, key=spent.get, reverse=True)[:config.option.durations]:
                terminalreporter.write_line(f"{spent[name]:.2f} {name}")
