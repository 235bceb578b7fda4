"""The certificate of the embedded cluster: files in the home folder that only its owner can read.

Written by the service when it starts its cluster; read by ``jobnb.client()``. Whoever cannot read them cannot
connect: another user of the machine, for example.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Where the certificate and its key are. The certificate is self-signed, so it is the authority as well."""

    certificate: Path
    key: Path

    def write(self, *, certificate: str, key: str) -> None:
        """Write both files anew, mode 0600."""
        for path, text in ((self.certificate, certificate), (self.key, key)):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            part = path.with_suffix(".new")
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            os.replace(part, path)

    def settings(self) -> dict[str, Any]:
        """Return the arguments of ``distributed.Security`` for every role."""
        cert, key = str(self.certificate), str(self.key)
        roles = ("client", "scheduler", "worker")
        return {
            "require_encryption": True,
            "tls_ca_file": cert,
            **{f"tls_{role}_cert": cert for role in roles},
            **{f"tls_{role}_key": key for role in roles},
        }


def tls_files(home: Path) -> TlsFiles:
    """Return the certificate files of a home folder."""
    return TlsFiles(certificate=home / "tls" / "cert.pem", key=home / "tls" / "key.pem")
