"""Structured records for the journal. Each kind has its MESSAGE_ID and an entry in the catalog.

Not imported until something is to be logged: the launcher's common case logs nothing.
"""

import syslog

from systemd import journal

from veriseal.errors import printable

CERTIFICATES_FOUND = "9fb9d7ec130d4954bfd21e2f1d42260c"
CERTIFICATE_IGNORED = "a09de723f2094f768ce36d9ba1c858b6"
CERTIFICATE_ENROLLED = "630ec3b4a2b74985920dcf51619dbef7"
TRUST_WARNING = "b0a7775c53944dd897955a200fb443a9"
STATEMENT_READ = "62bed0ceb95949118675809d91e04304"
STATEMENT_NOT_USED = "d6f9497e4089434fa993a2ecf875c369"
KEYRING_ADOPTED = "f6895416da9c4cfba262204aeddfb100"
KEYRING_RESTRICTED = "87731266a7244648903285566b3ea946"
KEYRING_SEALED = "5f9dcb5701e44a80abcd6ba21f0ca035"
SIGNATURES_REQUIRED = "a31ee366652e437c9daae570f3e37b9d"
READ_BACK = "fbb78a2138774b788ec38a7ff8227160"
SEAL_DONE = "e32fc9edb7d5409e96cac088d6ca240d"
KEYRING_OFF = "492b5116c3be4b13ac6c0e726ab4b7e1"
VERIFY_DONE = "8a55d2b4b3ba426ba4165fea4728e6ce"
VERIFY_FINDING = "724b68cf598a4942b767fa11802efcb0"
TRUST_LOST = "d8a52658137c4d54b1e440209f0b00dc"
VERIFY_NOT_COVERED = "765fc3ab1b4e4cf2824fb5405c7da954"
VERIFY_FAILED = "329d5f0d81f64fdba6f0fd7414558a13"
SEAL_FAILED = "561c800b5d8f44f5868ac6d67eaafff1"
EXEC_REFUSED = "7a82c948c0e34b5bbd4979678a6b75f7"
EXEC_ENVIRONMENT = "5e2702927e754310afbe26dc57973359"

ERROR = syslog.LOG_ERR
WARNING = syslog.LOG_WARNING
NOTICE = syslog.LOG_NOTICE
INFO = syslog.LOG_INFO


def send(message_id: str, priority: int, message: str, **fields: str | None) -> None:
    """One record; ``fields`` get the prefix ``VERISEAL_``, those that are None are left out.

    Control characters and undecodable bytes are shown as escapes. A journal that is not there
    is no reason to change a decision: OSError is swallowed, the caller has said the same on
    standard error.
    """
    named = {
        f"VERISEAL_{name.upper()}": printable(text)
        for name, text in fields.items()
        if text is not None
    }
    # Without it the identifier would be that of the interpreter.
    named["SYSLOG_IDENTIFIER"] = "veriseal"
    try:
        journal.send(printable(message), MESSAGE_ID=message_id, PRIORITY=priority, **named)
    except OSError:
        pass
