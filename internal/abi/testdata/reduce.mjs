// SPDX-License-Identifier: Apache-2.0
//
// Makes the vectors of this folder from npm's @ethersproject/testcases 5.8.0: the same
// cases in the same order, without the contracts' code and sources, which are most of
// the files.
//
//   npm install --no-save @ethersproject/testcases@5.8.0 && node reduce.mjs

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

const from = join(dirname(createRequire(import.meta.url).resolve("@ethersproject/testcases/package.json")), "testcases");
for (const name of ["contract-interface", "contract-interface-abi2", "contract-events", "contract-signatures"]) {
  const cases = JSON.parse(gunzipSync(readFileSync(join(from, `${name}.json.gz`))));
  for (const c of cases) {
    for (const member of ["bytecode", "runtimeBytecode", "source", "version"]) delete c[member];
  }
  writeFileSync(new URL(`./${name}.json.gz`, import.meta.url), gzipSync(JSON.stringify(cases), { level: 9 }));
}
