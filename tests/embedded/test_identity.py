from __future__ import annotations

import os
import subprocess
import sys

from embedded.identity import Identity, identify


class TestIdentify:
    def test_a_running_process_is_alive(self) -> None:
        me = identify(pid=os.getpid())

        assert me is not None
        assert me.is_alive

    def test_an_id_used_again_is_somebody_else(self) -> None:
        assert not Identity(os.getpid(), "started long ago").is_alive

    def test_a_zombie_does_not_run(self) -> None:
        with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.read()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

            assert identify(pid=child.pid) is None
