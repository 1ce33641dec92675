"""Archives that are refused at the door, with nothing left behind. The whole list is tests/mesh/test_bad_input.py."""

from functools import partial

from tests.attacks.model import Upload
from tests.support import zips

MIB = 1024**2

ATTACKS = (
    *(Upload(name.replace(" ", "-"), build, 400) for name, build in zips.HOSTILE.items()),
    Upload("bomb", partial(zips.bomb, 96 * MIB), 413),
    Upload("lying-bomb", partial(zips.lying_bomb, 96 * MIB), 413),
    Upload("many-entries", zips.many_entries, 413),
    Upload("claims-entries", zips.claims_entries, 413),
    Upload("link-to-the-root", partial(zips.symlink, "tests", "/"), 400),
    Upload("link-upwards", partial(zips.symlink, "a/b", "../../../.."), 400),
    Upload("nothing-to-test", partial(zips.make_zip, {"app.py": "x = 1\n"}), 422),
    Upload("tests-where-nobody-looks", partial(zips.make_zip, {".git/test_a.py": zips.PASSING}), 422),
)
