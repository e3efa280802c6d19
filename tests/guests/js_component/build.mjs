// node build.mjs TARGET.wasm: builds app.js, where @bytecodealliance/componentize-js is installed.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [target] = process.argv.slice(2);
const installed = join(process.cwd(), "node_modules/@bytecodealliance/componentize-js");

const { componentize } = await import(pathToFileURL(join(installed, "src/componentize.js")));
const { component } = await componentize({
  sourcePath: join(import.meta.dirname, "app.js"),
  witPath: join(import.meta.dirname, "guest.wit"),
  worldName: "guest",
});
await writeFile(target, component);
