"""A real PACS for tests: Orthanc with its DICOMweb plugin, on loopback, with a configuration and storage of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
USER, PASSWORD = "m3search", "for-this-test-only"
START_S = 60.0


def missing() -> str:
    """What is not installed; "" where all is."""
    if shutil.which("Orthanc") is None:
        return "Orthanc (Debian package orthanc) is not installed"
    return "" if _plugin() else "its DICOMweb plugin (Debian package orthanc-dicomweb) is not installed"


def _plugin() -> str:
    return next((path for path in PLUGINS if Path(path).exists()), "")


class Orthanc:
    """A server that can be killed and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        self.port, dicom_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "orthanc.log"
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(
            json.dumps(
                {
                    "Name": "m3search tests",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "Plugins": [_plugin()],
                    "HttpPort": self.port,
                    "DicomPort": dicom_port,
                    "DicomServerEnabled": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {USER: PASSWORD},
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(self._configuration)], stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"Orthanc ended:\n{self._log.read_text()}")
            try:
                if self.get("/system")["Version"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"Orthanc did not answer within {START_S} s:\n{self._log.read_text()}")

    def kill(self) -> None:
        """As a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def post(self, files: Iterable[Path]) -> None:
        """Store DICOM files."""
        import requests

        with requests.Session() as session:
            session.auth = (USER, PASSWORD)
            for file in files:
                answer = session.post(f"http://127.0.0.1:{self.port}/instances", data=file.read_bytes(), timeout=60)
                answer.raise_for_status()

    def get(self, path: str) -> Any:
        """Of its own REST API."""
        import requests

        answer = requests.get(f"http://127.0.0.1:{self.port}{path}", auth=(USER, PASSWORD), timeout=60)
        answer.raise_for_status()
        return answer.json()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
