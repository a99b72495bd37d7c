// SPDX-License-Identifier: Apache-2.0
//
// Calls a contract from its Swagger UI page in Chromium, as somebody who has signed in:
//
//     node page.mjs CHROMIUM ADMIN-URL PATH-OF-THE-PAGE ACCOUNT
//
// with an API key in API_KEY. It prints "ok - …" for each thing that holds, and ends
// with 1 at the first that does not.
import { choose, holds, signedIn } from "./browser.mjs";

const [, , executablePath, admin, path, account] = process.argv;

const complaints = [], elsewhere = [];
const listen = async (page) => {
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("request", (r) => { if (!r.url().startsWith(admin) && !r.url().startsWith("data:")) elsewhere.push(r.url()); });
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`)));
  page.on("console", (m) => { if (m.text().startsWith("CSP:")) complaints.push(m.text()); });
};

await signedIn(executablePath, admin, async (page) => {
  await page.goto(admin + path);
  await page.locator("#who", { hasText: "Calls are made as" }).waitFor();
  holds("the page knows who has signed in");

  await choose(page.locator("#account"), account);
  holds("it offers the wallet's accounts to sign with");

  // call opens an operation, fills it and makes the call.
  const call = async (tag, operation, body) => {
    const block = page.locator(`#operations-${tag}-${operation}`);
    await block.locator(".opblock-summary-control").click();
    await block.locator(".try-out__btn").click();
    if (body) await block.locator("textarea.body-param__text").fill(body);
    await block.locator("button.execute").click();
    const answer = block.locator(".live-responses-table tr.response").first();
    await answer.waitFor();
    return answer.innerText();
  };

  const read = await call("Read", "label_get");
  if (!/^200/.test(read) || !read.includes("Corner shop")) throw new Error(`read: ${read}`);
  holds("a method is called");

  const sent = await call("Write", "tick_post", '{"mark": "7"}');
  if (!/^202/.test(sent) || !sent.includes('"sent": true')) throw new Error(`sent: ${sent}`);
  holds("a transaction is sent by the account that was chosen");

  if (complaints.length || elsewhere.length) throw new Error(`the page says ${complaints}, and asks ${elsewhere}`);
  holds("it asks nobody else, and keeps to its policy");
}, listen);
