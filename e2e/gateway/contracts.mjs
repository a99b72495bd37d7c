// SPDX-License-Identifier: Apache-2.0
//
// A contract from the console in Chromium: uploads it, deploys it by a signing account
// that is chosen there, asks it, has its events posted to a URL, and sends to it:
//
//     node contracts.mjs CHROMIUM ADMIN-URL PATH-OF-THE-ENVIRONMENT WALLET ACCOUNT HOOK
//
// with an API key in API_KEY. It prints "ok - …" for each thing that holds, and ends
// with 1 at the first that does not.
import { readFileSync } from "node:fs";
import { choose, holds, signedIn } from "./browser.mjs";

const [, , executablePath, admin, path, wallet, account, hook] = process.argv;
const artifact = readFileSync(new URL("contract/Orders.json", import.meta.url), "utf8");

await signedIn(executablePath, admin, async (page) => {
  // method opens that part of a contract's page.
  const method = async (signature) => {
    const part = page.locator("details.method", { has: page.locator("summary", { hasText: signature }) });
    await part.evaluate((d) => { d.open = true; });
    return part.locator("form");
  };

  await page.goto(`${admin}${path}/contracts/${wallet}/upload`);
  await page.locator("[name=artifact]").fill(artifact);
  await page.click('button:has-text("Upload it")');
  await page.waitForURL((u) => u.pathname.includes("/interfaces/"));
  holds("a compiler's artifact is uploaded");

  const deploy = page.locator("form", { has: page.locator("h2", { hasText: "Deploy it" }) });
  await choose(deploy.getByLabel("Signing account"), account);
  await deploy.getByLabel(/^name string/).fill("Corner shop");
  await deploy.locator("#deploy-name").fill("shop");
  await deploy.locator('button:has-text("Deploy")').click();
  await page.waitForURL((u) => u.pathname.includes("/at/"));
  const work = page.locator("a", { hasText: "Work with it" });
  const label = page.locator("summary", { hasText: "label()" });
  await work.or(label).first().waitFor();
  for (const end = Date.now() + 90000; !(await label.isVisible()) && Date.now() < end;) {
    // The page may be read anew under the click.
    if (await work.isVisible()) await work.click({ timeout: 5000 }).catch(() => {});
    await label.waitFor({ timeout: 5000 }).catch(() => {});
  }
  await label.waitFor();
  const shop = page.url();
  holds("it is deployed by the account that was chosen");

  await (await method("label()")).locator("button").click();
  await page.locator("#answer", { hasText: "Corner shop" }).waitFor();
  holds("it is asked");

  await page.goto(`${admin}${path}/streams/${wallet}/new?type=webhook`);
  await page.locator('[name="webhook.url"]').fill(hook);
  await page.locator('[name="webhook.headers"]').fill("X-Shop: only for tests");
  await page.click('button:has-text("Make the stream")');
  await page.waitForURL((u) => u.pathname.includes("/of/"));
  const events = await page.locator("[name=event] option").evaluateAll((all) => all.map((o) => [o.value, o.textContent]));
  const placed = events.find(([, title]) => title.includes("Placed"));
  if (!placed) throw new Error(`the events are ${events}`);
  await page.locator("[name=event]").selectOption(placed[0]);
  await page.locator("[name=fromBlock]").first().fill("0");
  await page.click('button:has-text("Subscribe")');
  await page.locator("table", { hasText: "Placed(uint256,address,uint256)" }).waitFor();
  holds("its events are subscribed to");

  await page.goto(shop);
  const tick = await method("tick(uint256)");
  await choose(tick.getByLabel("Signing account"), account);
  await tick.getByLabel(/^mark uint256/).fill("7");
  await tick.locator("button").click();
  await page.waitForURL((u) => u.pathname.includes("/transactions/"));
  await page.locator("main", { hasText: "tick(uint256)" }).waitFor();
  holds("a transaction is sent, and its page has the call");
});
