"""JUnit XML, as CI servers read it: one test case a limit."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from edgekd.gate.result import GateResult
from edgekd.gate.words import about, headline, sentence

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def junit(result: GateResult, inconclusive: str) -> str:
    """What is inconclusive fails where the gate was told so, else it is skipped with its reason."""
    undecided = sum(1 for _ in result.of("inconclusive"))
    failures = sum(1 for _ in result.of("fail")) + (undecided if inconclusive == "fail" else 0)
    skipped = len(result.skipped) + (undecided if inconclusive == "pass" else 0)
    total = len(result.checks) + len(result.skipped)
    root = ET.Element("testsuites", name="edgekd check")
    suite = ET.SubElement(
        root, "testsuite", name=_clean(headline(result)), tests=str(total), failures=str(failures), errors="0",
        skipped=str(skipped), timestamp=result.when,
    )  # fmt: skip
    for check in result.checks:
        case = ET.SubElement(suite, "testcase", classname="edgekd.check", name=f"{check.name}: {about(check)}")
        told = _clean(sentence(check))
        if check.state == "fail" or (check.state == "inconclusive" and inconclusive == "fail"):
            ET.SubElement(case, "failure", type=check.state, message=told).text = told
        elif check.state == "inconclusive":
            ET.SubElement(case, "skipped").text = told
        else:
            ET.SubElement(case, "system-out").text = told
    for name, why in result.skipped.items():
        case = ET.SubElement(suite, "testcase", classname="edgekd.check", name=name)
        ET.SubElement(case, "skipped").text = _clean(f"not checked: {why}")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
