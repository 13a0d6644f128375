"""A test that isn't marked slow may take as many CPU-seconds as the ini option `cpu_limit` says, its processes included. One that takes more is
named at the end of the run; one that takes twice as many fails: the same test takes half as long again where the cores are shared."""
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
            over = report.passed and not item.get_closest_marker("slow")
            report.user_properties.append(("over", over and spent > self.limit))
            if over and spent > 2 * self.limit:
                report.outcome = "failed"
                report.longrepr = (f"It took {spent:.1f} CPU-seconds, and a test may take {self.limit:g}. Make it smaller, share what it "
                                   "sets up in a session fixture, or mark it slow and leave a quicker one in its place.")
        return report

    def pytest_terminal_summary(self, terminalreporter, config):
        """The tests that took more than they may, and with --durations=N the N that took the most CPU-seconds."""
        calls = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "call"]
        facts = {report.nodeid: dict(report.user_properties) for report in calls}
        spent = {name: found["cpu"] for name, found in facts.items() if "cpu" in found}
        for name in spent:
            if facts[name].get("over"):
                terminalreporter.write_line(f"OVER {self.limit:g} CPU-seconds: {spent[name]:.1f} {name}")
        if config.option.durations:
            terminalreporter.section(f"{sum(spent.values()):.0f} CPU-seconds in tests, those of shared fixtures apart")
            for name in sorted(spent, key=spent.get, reverse=True)[:config.option.durations]:
                terminalreporter.write_line(f"{spent[name]:.2f} {name}")
