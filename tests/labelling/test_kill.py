"""The server's process is killed while a page sends boxes: what it answered for is on the disk."""

import http.client
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import types

import pytest
from support.label_run import PORT, Client, make_run

from meddistill.labelling.book import read_actions


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_killed_server_lost_no_box_that_it_answered_for(tmp_path):
    run = make_run(tmp_path, count=4)
    command = [sys.executable, "-m", "meddistill", "label", str(run.root), "--teacher", "none"]
    command += ["--no-browser", "--port", str(PORT)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=unbuffered, **pipes) as server:
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        port = int(address.split(":")[2].split("/")[0])
        saved = []

        def draw():
            client = Client(types.SimpleNamespace(address=address, port=port))
            while True:
                action_id = secrets.token_hex(8)
                box = {"id": action_id, "xyxy": [8, 8, 24, 24], "finding": "lesion"}
                try:
                    client.act(2, "draw", id=action_id, box={**box, "source": "drawn"})
                except (OSError, http.client.HTTPException):
                    return
                saved.append(action_id)

        tabs = [threading.Thread(target=draw) for _ in range(2)]
        for tab in tabs:
            tab.start()
        while len(saved) < 20:
            assert any(tab.is_alive() for tab in tabs)
        server.send_signal(signal.SIGKILL)
        for tab in tabs:
            tab.join(30)
    assert set(saved) <= {action.action_id for action in read_actions(run.labels)}
