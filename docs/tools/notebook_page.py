"""Gives the site the walkthrough: a hook of mkdocs.

Text, code and outputs come from the executed notebook, and the alternative
texts of the pictures from the metadata of its cells.
"""

import base64
import json
import pathlib

from mkdocs.structure.files import File

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "walkthrough.ipynb"


def on_files(files, config):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"walkthrough/{len(parts)}.png"
                picture = base64.b64decode(data["image/png"])
                files.append(File.generated(config, name, content=picture))
                parts.append(f"![{cell['metadata']['alt']}]({name})")
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"``` {{.text .output}}\n{text.rstrip()}\n```")
    page = "\n\n".join(parts) + "\n"
    files.append(File.generated(config, "walkthrough.md", content=page))
    return files
