"""The checks of preflight, one subject a file.

To add a check, write a function that returns findings, (findings, facts) or nothing, and ask it in
preflight.py. It raises ValueError if its input cannot be used: that becomes a finding.
"""


def finding(id: str, level: str, what: str, evidence: str, fix: str = "") -> dict:
    """One entry of preflight.json. `level` is "ok", "warn" or "fail"; "ok" needs no fix."""
    fix = "" if level == "ok" else fix
    return {"id": id, "level": level, "what": what, "evidence": evidence, "fix": fix}
