// Builds the page and puts it where the Python package takes it from: the script, the shell and the licences.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const out = process.argv[2] ?? "../page/bundle";
await build({ logLevel: "warn" });
mkdirSync(out, { recursive: true });
writeFileSync(`${out}/app.js.gz`, gzipSync(readFileSync("dist/app.js"), { level: 9 }));
const [shell, style] = ["shell.html", "style.css"].map((name) => readFileSync(`src/${name}`, "utf8"));
writeFileSync(`${out}/shell.html`, shell.replace("{{style}}", () => style.trim()));
const shipped = ["@sparkjsdev/spark", "three", "fflate"];
const licences = shipped.map((name) => {
  const version = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
  return `${name} ${version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`;
});
writeFileSync(`${out}/LICENSES.txt`, licences.join("\n----\n\n"));
