import os
from pathlib import Path
from tests.extism.comparison import compare
async def test_adhoc(compared):
    await compare(Path(os.environ["EG_WASM"]), os.environ["EG_EXPORTS"].split(), range(20), compared)
