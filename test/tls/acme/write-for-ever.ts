import { readFileSync } from "node:fs";
import { readPair } from "../../../src/tls/acme/certificate.ts";
import { AcmeFolder } from "../../../src/tls/acme/folder.ts";

// Writes one certificate over the other until it is killed.
const [dataDir = "", ...files] = process.argv.slice(2);
const pairs = files.map((file) => readPair(readFileSync(file, "utf8")));
const folder = new AcmeFolder(dataDir, {
  directory: "https://ca.example/dir",
  domains: ["mail.example.org"],
});
await folder.open();
for (let round = 0; ; round++) {
  const pair = pairs[round % pairs.length];
  if (pair) await folder.writeCertificate(pair);
  if (round === 0) console.log("writing");
}
