"""tests/packages/sbom.py FILE…

Fails if a file is not a valid SBOM in CycloneDX, by its own schema and the lists of SPDX and
package URLs. Needs cyclonedx-python-lib, license-expression and packageurl-python.
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL

assert len(sys.argv) > 1
for path in map(Path, sys.argv[1:]):
    text = path.read_text()
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert error is None, f"{path}: {error}"
    bom = json.loads(text)
    for component in [bom["metadata"]["component"], *bom["components"]]:
        PackageURL.from_string(component["purl"])
        for licence in component["licenses"]:
            errors = get_spdx_licensing().validate(licence["expression"], strict=True).errors
            assert not errors, f"{path}: {component['name']}: {errors}"
