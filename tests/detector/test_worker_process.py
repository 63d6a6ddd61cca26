"""The process that Ultralytics runs in: its threads and its log."""

import os
import subprocess
import sys

from meddistill.detector.worker_process import tidy_console


def test_ultralytics_takes_no_more_threads_than_it_is_given():
    code = """
import os
os.cpu_count = lambda: 64
from meddistill.detector.worker import keep_to_threads
keep_to_threads(2)
import torch
from ultralytics.utils.torch_utils import select_device
select_device("cpu")
print(torch.get_num_threads())
"""
    environment = os.environ | {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[-1] == "2"


def test_the_log_is_what_a_terminal_shows_in_the_end():
    printed = "\x1b[34mtrain: \x1b[0mgo\n\r\x1b[K 1/2: 0%\r\x1b[K 1/2: 100%  \r\nall  4\n"
    assert tidy_console(printed) == "train: go\n 1/2: 100%\nall  4\n"
