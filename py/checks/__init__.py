"""Preflight's questions, one a file.

To add a check, write a function that returns a list of findings, and ask it in preflight.py. Where
its input cannot be read it raises ValueError, and that is a finding too.
"""


def finding(id: str, level: str, what: str, evidence: str, fix: str = "") -> dict:
    """One entry of preflight.json. `level` is "ok", "warn" or "fail"; "ok" needs no fix."""
    return {
        "id": id,
        "level": level,
        "what": what,
        "evidence": evidence,
        "fix": "" if level == "ok" else fix,
    }
